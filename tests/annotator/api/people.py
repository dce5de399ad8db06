"""A small world of people: four roles, outsiders, a server admin, and three projects to be kept apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from annotator.actions.pictures import thumbnail_path
from annotator.api.app import create_app
from annotator.api.auth import COOKIE
from annotator.people import Role
from annotator.records import Image, NewImage
from annotator.settings import Settings
from annotator.store import Store, categories, images, members, projects, sessions, tokens, users
from tests.conftest import picture_bytes

NOW = 1_790_000_000_000
LATER = 10**13
BASE = "http://192.168.1.4:7860"
PASSWORD = "correct horse battery"
ROLES = ("viewer", "annotator", "reviewer", "admin")


@dataclass
class Place:
    """A project with one category and one picture that can be served."""

    project_id: int
    name: str
    category_id: int
    image_id: int


@dataclass
class World:
    """Everything the tests ask about. `headers` holds what each person sends to be known."""

    app: FastAPI
    store: Store
    client: TestClient
    ids: dict[str, int]
    headers: dict[str, dict[str, str]]
    places: dict[str, Place]
    count: int = field(default=0)

    def fresh(self) -> str:
        """A name nobody used before."""
        self.count += 1
        return f"fresh-{self.count:08}"


def account(store: Store, name: str, *, is_admin: bool = False) -> tuple[int, dict[str, str]]:
    """An account and the header of a session of it."""
    user_id = store.write(lambda c: users.create(c, name, None, is_admin=is_admin, now=NOW)).id
    return user_id, session(store, user_id)


def session(store: Store, user_id: int) -> dict[str, str]:
    """The header of a new session."""
    token = store.write(lambda c: sessions.create(c, user_id, ttl_ms=LATER, now=NOW))
    return {"Cookie": f"{COOKIE}={token}"}


def bearer(store: Store, user_id: int) -> dict[str, str]:
    """The header of a new API token."""
    _, secret = store.write(lambda c: tokens.create(c, user_id, "script", expires_at=None, now=NOW))
    return {"Authorization": f"Bearer {secret}"}


def place(store: Store, name: str) -> Place:
    """A project with a category and a picture whose files are there."""
    project = store.write(lambda c: projects.create(c, name, now=NOW))
    category = store.write(lambda c: categories.add(c, project.id, "cat", now=NOW))
    image = _picture(store, project.id, name)
    return Place(project.id, name, category.id, image.id)


def _picture(store: Store, project_id: int, name: str) -> Image:
    sha = name.encode().hex().ljust(64, "0")[-64:]
    path = f"originals/{sha[:2]}/{sha}.jpg"
    new = NewImage(
        sha256=sha,
        name=f"{name}.jpg",
        media_type="image/jpeg",
        width=40,
        height=30,
        original=path,
        canonical=path,
    )
    image = store.write(lambda c: images.add(c, project_id, new, now=NOW)[0])
    for relative in (path, thumbnail_path(image)):
        target: Path = store.data_dir / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(picture_bytes(".jpg"))
    return image


def build(
    store: Store, settings: Settings
) -> tuple[FastAPI, dict[str, int], dict[str, dict[str, str]], dict[str, Place]]:
    """People and projects: `home` has the four roles, `foreign` another admin, `archived` is put away."""
    app = create_app(store, settings)
    places = {name: place(store, name) for name in ("home", "foreign", "archived")}
    ids: dict[str, int] = {}
    headers: dict[str, dict[str, str]] = {"nobody": {}}
    for role in ROLES:
        ids[role], headers[role] = account(store, role)
        for where in ("home", "archived"):
            _join(store, places[where], ids[role], Role(role))
    ids["outsider"], headers["outsider"] = account(store, "outsider")
    ids["foreign admin"], headers["foreign admin"] = account(store, "foreign admin")
    _join(store, places["foreign"], ids["foreign admin"], Role.ADMIN)
    ids["former admin"], headers["former admin"] = account(store, "former admin")
    _join(store, places["home"], ids["former admin"], Role.ADMIN)
    store.write(lambda c: members.remove(c, places["home"].project_id, ids["former admin"]))
    ids["server admin"], headers["server admin"] = account(store, "server admin", is_admin=True)
    ids["annotator's token"], headers["annotator's token"] = ids["annotator"], bearer(store, ids["annotator"])
    ids["spare"], _ = account(store, "spare")
    for found in places.values():
        _join(store, found, ids["spare"], Role.VIEWER)
    store.write(lambda c: projects.set_archived(c, places["archived"].project_id, NOW))
    return app, ids, headers, places


def _join(store: Store, where: Place, user_id: int, role: Role) -> None:
    store.write(lambda c: members.put(c, where.project_id, user_id, role, now=NOW))


def ask(world: World, actor: str, method: str, path: str, body: Any = None) -> Any:
    """The answer to one request of `actor`, without what the client kept of others."""
    world.client.cookies.clear()
    return world.client.request(method, path, headers=world.headers[actor], json=body)
