"""The whole site: API, guard and the Gradio page at "/"."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from urllib.parse import quote

from fastapi import FastAPI
from starlette.routing import Mount

import assets
from annotator.actions import Actions
from annotator.api.app import create_app
from annotator.settings import Settings
from annotator.store import Store
from annotator.store.copying import TEMPORARY

MAX_UPLOAD = "4gb"


def create_site(store: Store, settings: Settings) -> FastAPI:
    """The application that `annotator run` serves; nothing in it asks another host for anything."""
    app = create_app(store, settings)
    return mount_page(app, app.state.actions, data_dir=settings.data_dir)


def mount_page(app: FastAPI, actions: Actions, *, data_dir: Path) -> FastAPI:
    """Mount the Gradio page at "/" of `app`."""

    async def mounted() -> FastAPI:
        return _mount(app, actions, data_dir)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        # Where no event loop runs, Gradio opens one for each of its locks and never closes them.
        return asyncio.run(mounted())
    return _mount(app, actions, data_dir)


def _mount(app: FastAPI, actions: Actions, data_dir: Path) -> FastAPI:
    # Gradio reads both while it is imported and built, so they are set before.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # Uploads lie in our folder, which nobody else can read and which every start empties.
    uploads = (data_dir / TEMPORARY / "gradio").resolve()
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    import gradio as gr

    from annotator.ui.border import PageBorder
    from annotator.ui.door import Door
    from annotator.ui.page import build_page
    from annotator.ui.theme import page_theme
    from annotator.ui.tracebacks import log_errors_of_events

    log_errors_of_events()
    door = Door(actions, sign_in=app.state.gate.required)
    page = build_page(door, data_dir=data_dir)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        theme=page_theme(),
        head=_head(),
        show_error=False,
        footer_links=[],
        run_history=False,
        max_file_size=MAX_UPLOAD,
        ssr_mode=False,
        enable_monitoring=False,
    )
    mounted = app.router.routes[-1]
    assert isinstance(mounted, Mount)
    mounted.app = PageBorder(mounted.app, may_upload=door.may_upload, uploads=uploads, queue=page._queue)
    return app


def _head() -> str:
    icon = f'<link rel="icon" type="image/svg+xml" href="data:image/svg+xml,{quote(assets.logo())}">'
    return f"<style>{assets.page_styles()}</style>\n{icon}\n"
