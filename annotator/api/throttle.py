"""How often somebody may be wrong about a password, and how many passwords or files are judged at once."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from annotator.api.errors import TooManyAtOnce, TooManyAttempts

FREE_ATTEMPTS = 10
EACH_AT_ONCE = 8  # of one address
ALL_AT_ONCE = 16  # of everybody: well below the threads that all requests share


class Throttle:
    """Wrong attempts per account and address: ten are free, then a pause that doubles up to an hour."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, addresses: int = 100_000) -> None:
        self._clock = clock
        self._limit = addresses
        self._lock = threading.Lock()
        self._wrong: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()

    def attempt(self, who: Hashable) -> None:
        """Count one attempt before it is judged; raise TooManyAttempts while `who` has to wait."""
        with self._lock:
            count, until = self._wrong.get(who, (0, 0.0))
            wait = until - self._clock()
            if count >= FREE_ATTEMPTS and wait > 0:
                raise TooManyAttempts(int(wait) + 1)
            pause = min(3600.0, 30.0 * 2.0 ** min(20, max(0, count + 1 - FREE_ATTEMPTS)))
            self._wrong[who] = (count + 1, self._clock() + pause)
            self._wrong.move_to_end(who)
            while len(self._wrong) > self._limit:
                self._wrong.popitem(last=False)

    def right(self, who: Hashable) -> None:
        """Forget the wrong attempts of `who`."""
        with self._lock:
            self._wrong.pop(who, None)


class Turns:
    """How many sign-ins, or other slow things (`what`), are done at the same time. Thread-safe.

    A hash is slow on purpose and a thread waits for each. Without a limit a hundred requests of a stranger
    would hold every thread of the server, and those who are signed in would wait for them.
    """

    def __init__(
        self, *, each: int = EACH_AT_ONCE, everybody: int = ALL_AT_ONCE, what: str = "sign-ins"
    ) -> None:
        self._what = what
        self._each = each
        self._everybody = everybody
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    @property
    def now(self) -> int:
        """How many are judged at this moment."""
        with self._lock:
            return self._taken.total()

    @contextmanager
    def one(self, address: str) -> Iterator[None]:
        """Take a turn of `address` for the time of the block; raise TooManyAtOnce when none is left."""
        with self._lock:
            if self._taken[address] >= self._each or self._taken.total() >= self._everybody:
                raise TooManyAtOnce(self._what)
            self._taken[address] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[address] -= 1
                self._taken += Counter()  # forgets addresses without a turn
