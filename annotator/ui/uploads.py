"""Who uploaded which file: an event may only name files that its sender brought."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict

MANY = 200_000  # files remembered; the oldest are forgotten and would have to be uploaded again


class Uploads:
    """Paths that Gradio gave to uploads, by person. Thread-safe; a restart forgets them, as the page does."""

    def __init__(self, limit: int = MANY) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, str], None] = OrderedDict()

    def keep(self, user_id: int, answer: bytes) -> None:
        """Remember what an upload's answer lists: a JSON list of paths."""
        paths = json.loads(answer)
        if not (isinstance(paths, list) and all(isinstance(path, str) for path in paths)):
            return
        with self._lock:
            for path in paths:
                self._kept[user_id, path] = None
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)

    def are_of(self, user_id: int, path: str) -> bool:
        """True when this person uploaded the file with exactly this path."""
        with self._lock:
            return (user_id, path) in self._kept
