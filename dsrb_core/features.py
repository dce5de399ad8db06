"""Pictures to cached feature maps: decoding in threads runs beside the backbone, writing beside both."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from dsrb_core.cache import FeatureCache
from dsrb_core.decoding import Pixels, decode

log = logging.getLogger(__name__)

Tokens = npt.NDArray[np.float32]
WRITE_BATCH = 64
"""Pictures per append: one wait for the disk is shared by this many."""


class Extractor(Protocol):
    """What `extract` needs of a backbone."""

    @property
    def size(self) -> int:
        """Side of the square input in pixels."""
        ...

    def bare(self, batch: Pixels) -> Tokens:
        """uint8 (B, 3, S, S) to float32 (B, locations, dim)."""
        ...


@dataclass(frozen=True, kw_only=True)
class ExtractReport:
    """What an extraction did; `refused` holds (key, reason in one clause), `seconds` is wall time."""

    done: int
    skipped: int  # cached before, or given twice
    refused: list[tuple[str, str]]
    seconds: float
    stopped: bool = False  # by `should_stop`; what was extracted until then is cached


@dataclass
class _Run:
    """State of one extraction."""

    cache: FeatureCache
    total: int
    on_progress: Callable[[int, int], None] | None
    writer: ThreadPoolExecutor
    done: int = 0
    skipped: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    waiting: list[tuple[str, Tokens]] = field(default_factory=list)
    writing: Future[None] | None = None

    def refuse(self, key: str, reason: str) -> None:
        self.refused.append((key, reason))
        log.warning("no features for picture %s: %s", key, reason)

    def take(self, keys: Sequence[str], maps: Tokens) -> None:
        """Count and keep the finite maps; write when enough are waiting."""
        for key, one in zip(keys, maps, strict=True):
            if np.isfinite(one).all():
                self.waiting.append((key, one))
            else:
                self.refuse(key, "the backbone gave a feature that is not finite")
        if len(self.waiting) >= WRITE_BATCH:
            self.flush()

    def flush(self) -> None:
        """Hand what is waiting to the writer thread, after its last append has ended."""
        self.settle()
        if self.waiting:
            keys, maps = zip(*self.waiting, strict=True)
            self.waiting = []
            self.writing = self.writer.submit(self.cache.append, keys, np.stack(maps))
            self.done += len(keys)

    def settle(self) -> None:
        """Wait for the append in progress; its error is raised here."""
        if self.writing is not None:
            self.writing.result()
            self.writing = None

    def report_progress(self) -> None:
        if self.on_progress is not None:
            handled = self.done + len(self.waiting) + self.skipped + len(self.refused)
            self.on_progress(handled, self.total)


def extract(
    paths: Sequence[tuple[str, Path]],
    backbone: Extractor,
    cache: FeatureCache,
    *,
    batch_size: int = 16,
    decoders: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> ExtractReport:
    """Cache the feature map of every (key, path) that `cache` does not hold yet.

    A picture that cannot be decoded is refused with its reason and the rest goes on. `on_progress(handled,
    total)` is called after every batch and `should_stop()` asked before it. Raises ValueError when batch_size
    or decoders is below 1, and what `cache.append` raises.
    """
    if batch_size < 1 or decoders < 1:
        raise ValueError(f"batch_size and decoders must be at least 1, not {batch_size} and {decoders}.")
    started = time.monotonic()
    todo = dict(paths)
    todo = {key: path for key, path in todo.items() if key not in cache}
    stopped = False
    with ExitStack() as stack:
        stack.enter_context(_keep_torch_threads())
        writer = stack.enter_context(ThreadPoolExecutor(1, "features-write"))
        run = _Run(cache, len(paths), on_progress, writer, skipped=len(paths) - len(todo))
        run.report_progress()
        for keys, batch in _batches(todo, backbone.size, run=run, batch_size=batch_size, decoders=decoders):
            if should_stop is not None and should_stop():
                stopped = True
                break
            if keys:
                run.take(keys, backbone.bare(batch))
            run.report_progress()
        run.flush()
        run.settle()
    return ExtractReport(done=run.done, skipped=run.skipped, refused=run.refused,
                         seconds=time.monotonic() - started, stopped=stopped)  # fmt: skip


def _batches(
    todo: dict[str, Path], size: int, *, run: _Run, batch_size: int, decoders: int
) -> Iterator[tuple[list[str], Pixels]]:
    """Decoded batches in order, the next being decoded meanwhile; unreadable pictures are refused."""
    with ThreadPoolExecutor(
        decoders, "features-decode", initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        ahead: deque[tuple[str, Future[Pixels]]] = deque()
        waiting = iter(todo.items())
        try:
            while True:
                for key, path in waiting:
                    ahead.append((key, pool.submit(decode, path, size=size)))
                    if len(ahead) >= 4 * batch_size:
                        break
                if not ahead:
                    return
                yield _collect([ahead.popleft() for _ in range(min(batch_size, len(ahead)))], size, run=run)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _collect(
    decoded: Sequence[tuple[str, Future[Pixels]]], size: int, *, run: _Run
) -> tuple[list[str], Pixels]:
    keys: list[str] = []
    batch = np.empty((len(decoded), 3, size, size), np.uint8)
    for key, future in decoded:
        try:
            batch[len(keys)] = future.result()
        except ValueError as error:
            run.refuse(key, str(error))
        else:
            keys.append(key)
    return keys, batch[: len(keys)]


@contextmanager
def _keep_torch_threads() -> Iterator[None]:
    """Put torch's thread number back: a decoder's choice of one would hold for later threads too."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
