"""The web application without the page: routes, sign-in and the guard."""

from __future__ import annotations

import shutil

from fastapi import Depends, FastAPI

from annotator import __version__
from annotator.actions import Actions
from annotator.api import accounts, editing, errors, files, generations, health, routes, sign_in
from annotator.api.auth import Gate
from annotator.api.guard import Guard
from annotator.api.permissions import confirmed
from annotator.api.throttle import Turns
from annotator.settings import Settings
from annotator.store import Store
from annotator.store.copying import TEMPORARY


def create_app(store: Store, settings: Settings, *, actions: Actions | None = None) -> FastAPI:
    """Everything but the page; whatever is mounted into it later stands behind the guard as well.

    `app.state.actions` is the door to everything, `app.state.first_run_secret` the one-time secret of the
    first sign-in (None when nobody needs it).
    """
    app = FastAPI(
        title="Annotation assistant",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(confirmed)],
    )
    shutil.rmtree(settings.data_dir / TEMPORARY, ignore_errors=True)  # left by a server that was killed
    app.state.settings = settings
    app.state.actions = actions or Actions(store, settings)
    gate = Gate(store, settings, actions=app.state.actions)
    app.state.gate = gate
    app.state.label_turns = Turns(**files.LABEL_FILES, what="label files")
    app.state.first_run_secret = gate.first_run_secret
    errors.install(app)
    for part in (
        routes.router,  # an address is looked for in this order: what people wait for comes first
        files.router,
        editing.router,
        generations.router,
        health.router,
        accounts.router,
        sign_in.router,
    ):
        app.include_router(part)
    app.add_middleware(Guard, gate=gate, settings=settings)
    return app
