"""What events of the page gave and nobody came to hear: the page toolkit keeps it until the server ends."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

MOST = 150  # messages of one person: three or four of an event, and where nobody signs in all are one person


class Unheard:
    """Keeps little of it for each person. Belongs to the event loop; `queue` is the toolkit's own.

    A page asks for what an event gives as soon as it has sent one, so hardly anything ever waits.
    """

    def __init__(self, queue: Any, most: int = MOST) -> None:
        self._queue = queue
        self._most = most
        self._sessions: dict[int, OrderedDict[str, None]] = {}  # of each person, those with something waiting

    async def room(self, person: int, session: str) -> bool:
        """Whether one more event of a session can be taken; the person's oldest sessions make room for it."""
        mine = self._sessions.setdefault(person, OrderedDict())
        waiting = {one: self._waiting(one) for one in mine if one != session}
        for one, count in waiting.items():
            if count == 0:
                del mine[one]
        mine[session] = None
        mine.move_to_end(session)
        own, others = self._waiting(session), sum(waiting.values())
        if own >= self._most:
            return False
        while own + others >= self._most:
            oldest, _ = mine.popitem(last=False)
            others -= waiting[oldest]
            await self._drop(oldest)
        return True

    def _waiting(self, session: str) -> int:
        messages = self._queue.pending_messages_per_session.get(session)
        return 0 if messages is None else int(messages.qsize())

    async def _drop(self, session: str) -> None:
        await self._queue.clean_events(session_hash=session)  # those that have not begun
        self._queue.pending_messages_per_session.pop(session, None)
        self._queue.pending_event_ids_session.pop(session, None)
