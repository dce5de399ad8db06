"""Files of uploads that ended half-way: the page toolkit opens one per part and forgets them on an error."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import CancelScope, to_thread

_UNFINISHED = re.compile(r"tmp[a-z0-9_]{8}")  # as `tempfile` names them; finished ones lie in folders


class Leftovers:
    """Takes them away when no upload is under way: until then nobody can tell whose they are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._under_way = 0
        self._begun = 0

    @asynccontextmanager
    async def taken_away(self) -> AsyncIterator[None]:
        """Around one upload, its background work included."""
        self._under_way += 1
        self._begun += 1
        try:
            yield
        finally:
            self._under_way -= 1
            if self._under_way == 0:
                with CancelScope(shield=True):  # also when whoever sent it hung up
                    await self._take_away(self._begun)

    async def _take_away(self, begun: int) -> None:
        """Look in a thread: a folder with a hundred thousand finished ones would hold everybody up."""
        found = await to_thread.run_sync(self._unfinished)
        if begun == self._begun:  # else files of the next upload may be among them, and its end looks again
            await to_thread.run_sync(_remove, found)

    def _unfinished(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return [path for path in self._folder.iterdir() if _UNFINISHED.fullmatch(path.name)]


def _remove(paths: list[Path]) -> None:
    for path in paths:
        if path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)
