"""A running application on a real database."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from annotator.api.app import create_app
from annotator.records import Category, Image, Project
from annotator.settings import Settings
from annotator.store import Store, categories, now_ms
from tests.annotator.api.people import World, build

BASE = "http://127.0.0.1:7860"


@pytest.fixture
def app(store: Store, settings: Settings) -> FastAPI:
    return create_app(store, settings)


@pytest.fixture
def world(store: Store, public_settings: Settings) -> Iterator[World]:
    """A public server with people of every role and a client."""
    app, ids, headers, places = build(store, public_settings)
    with TestClient(app, base_url=BASE, follow_redirects=False) as client:
        yield World(app, store, client, ids, headers, places)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url=BASE, follow_redirects=False) as made:
        yield made


@pytest.fixture
def public_settings(settings: Settings) -> Settings:
    """The same data folder, reachable from the network without encryption, as the tests' clients come."""
    return settings.model_copy(update={"host": "0.0.0.0", "insecure_http": True})


@pytest.fixture
def public_app(store: Store, public_settings: Settings) -> FastAPI:
    return create_app(store, public_settings)


@pytest.fixture
def stranger(public_app: FastAPI) -> Iterator[TestClient]:
    """Somebody on the network who has not signed in."""
    with TestClient(public_app, base_url="http://192.168.1.4:7860", follow_redirects=False) as made:
        yield made


@pytest.fixture
def pictures(project: Project, add_images: Callable[..., list[Image]]) -> list[Image]:
    return add_images(project, 8)


@pytest.fixture
def cat(store: Store, project: Project) -> Category:
    return store.write(lambda c: categories.add(c, project.id, "cat", now=now_ms()))


@pytest.fixture
def base(project: Project) -> str:
    return f"/api/projects/{project.id}"
