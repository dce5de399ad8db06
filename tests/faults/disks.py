"""A small ext4 file system in a file; a copy of the file holds what reached the device: a power cut."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

MEGABYTES = 48


def memory_folder() -> Path | None:
    """Where disk images lie so that copying one is a matter of milliseconds; None for the usual place."""
    shared = Path("/dev/shm")
    return shared if os.access(shared, os.W_OK) else None


@cache
def why_not() -> str:
    """Why no file system can be mounted here; empty when one can."""
    if os.geteuid() != 0:
        return "mounting a file system needs root"
    for program in ("mkfs.ext4", "mount", "umount"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    with TemporaryDirectory(dir=memory_folder()) as folder:
        try:
            with mounted(make_disk(Path(folder) / "probe.img"), Path(folder) / "probe"):
                return ""
        except subprocess.CalledProcessError as error:
            return f"no loop device can be mounted ({error.stderr.decode().strip()})"


def needs_disks() -> None:
    """Skip the test, loudly, where no file system can be mounted."""
    if reason := why_not():
        pytest.skip(reason)


def make_disk(image: Path, megabytes: int = MEGABYTES) -> Path:
    """An empty ext4 file system in the file `image`."""
    with image.open("wb") as file:
        file.truncate(megabytes * 2**20)
    _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
    return image


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    """The file system of `image` at the folder `at` while the block runs."""
    at.mkdir(parents=True, exist_ok=True)
    _run("mount", "-o", "loop", str(image), str(at))
    try:
        yield at
    finally:
        try:
            _run("umount", str(at))
        except subprocess.CalledProcessError:
            with suppress(
                subprocess.CalledProcessError
            ):  # something still has a file open: let go when it ends
                _run("umount", "-l", str(at))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)
