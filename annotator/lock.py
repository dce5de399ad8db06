"""One server per data folder, and whether the last one ended in order."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from types import TracebackType
from typing import IO

from annotator import locking
from annotator.errors import StoreError
from annotator.settings import Settings
from annotator.store import Store


class ServerLock:
    """Holds the data folder's lock while entered; StoreError when another server has it.

    The lock's file names its holder for as long as he lives and is emptied when he ends in order. What is
    left in it says that the last one was killed, lost its power or its disk: then the database is read from
    end to end before anything is written.
    """

    def __init__(self, settings: Settings) -> None:
        self._data_dir = settings.data_dir
        self._file: IO[str] | None = None
        self._must_check = False
        self._store: Store | None = None

    def __enter__(self) -> ServerLock:
        self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with ExitStack() as until_held:
            file = until_held.enter_context(locking.open_private(self._data_dir / "server.lock"))
            if not locking.take(file, self._data_dir):
                raise self._in_use(file)
            file.seek(0)
            self._must_check = bool(file.read().strip())
            self._note(file, f"{os.getpid()} on {socket.gethostname()}")
            self._file = file
            until_held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, self._file = self._file, None
        assert file is not None
        with file:
            in_trouble = self._store is not None and bool(self._store.trouble)
            if not self._must_check and not in_trouble:
                self._note(file, "")

    @property
    def checked(self) -> bool:
        """Whether the store may be served: it has been looked at, or the last server ended in order."""
        return self._store is not None and not self._must_check

    def check(self, store: Store) -> bool:
        """Read the database if the last server did not end in order, and whether that was so.

        StoreError when it is damaged.
        """
        self._store = store
        if not self._must_check:
            return False
        wrong = store.damage()
        if wrong:
            raise StoreError(
                f"{wrong} The last server did not end in order; nothing was changed now. Restore a backup or "
                "let `annotator doctor` look at it."
            )
        self._must_check = False
        return True

    def _in_use(self, file: IO[str]) -> StoreError:
        file.seek(0)
        holder = file.read(200).strip() or "unknown"
        return StoreError(
            f"{self._data_dir} is in use by another annotator (process {holder}); stop it first."
        )

    @staticmethod
    def _note(file: IO[str], text: str) -> None:
        file.truncate(0)
        file.write(text)
        file.flush()


def only_server(settings: Settings) -> ServerLock:
    """The lock of a data folder, to be held in a `with` block."""
    return ServerLock(settings)
