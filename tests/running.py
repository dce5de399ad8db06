"""Coroutines in tests, also after browser tests, whose driver leaves an event loop running in the thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


Run = Callable[[Coroutine[Any, Any, Any]], Any]


@contextmanager
def one_loop() -> Iterator[Run]:
    """Runs one coroutine after the other in the same loop, in a thread of its own."""
    with ThreadPoolExecutor(1) as thread:
        runner = asyncio.Runner()
        try:
            yield lambda coroutine: thread.submit(runner.run, coroutine).result()
        finally:
            thread.submit(runner.close).result()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, run to its end in a thread and a loop of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
