"""Real actions on a fresh store."""

from __future__ import annotations

import pytest

from annotator.actions import Actions
from annotator.records import Project
from annotator.settings import Settings
from annotator.store import Store, now_ms, users
from annotator.ui.door import Door, Here, Server


@pytest.fixture
def actions(store: Store, settings: Settings) -> Actions:
    """The door the tabs go through."""
    return Actions(store, settings)


@pytest.fixture
def door(actions: Actions) -> Door:
    """The way of every event to them."""
    return Door(actions, sign_in=True)


@pytest.fixture
def owner(actions: Actions, store: Store) -> int:
    """Who may do everything."""
    return store.write(lambda c: users.owner(c, now=now_ms()))


@pytest.fixture
def here(actions: Actions, owner: int, project: Project) -> Here:
    """The owner in the project."""
    return Here(actions, owner, project.id)


@pytest.fixture
def server(actions: Actions, owner: int) -> Server:
    """The owner on the server."""
    return Server(actions, owner)
