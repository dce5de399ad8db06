"""Real actions on a fresh store."""

from __future__ import annotations

import pytest

from annotator.actions import Actions
from annotator.settings import Settings
from annotator.store import Store


@pytest.fixture
def actions(store: Store, settings: Settings) -> Actions:
    """The door the tabs go through."""
    return Actions(store, settings)
