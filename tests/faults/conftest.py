"""What the tests of faults share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.faults.disks import memory_folder
from tests.faults.servers import Nursery


@pytest.fixture(scope="session")
def light() -> Iterator[Nursery]:
    """Starts the product's application without page and worker: `with light(data_dir) as server`."""
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A folder in memory where there is one: a killed process loses nothing there that a disk would keep."""
    with TemporaryDirectory(dir=memory_folder(), prefix="faults-") as folder:
        yield Path(folder)
