"""Places where a test makes the program die, fail or wait; without the variable they do nothing.

`ANNOTATOR_FAILPOINT=name:action` arms one place: `kill` ends the process as SIGKILL does, `raise` raises
`Failed`, `sleep` stays there for an hour.
"""

from __future__ import annotations

import os
import signal
import time

VARIABLE = "ANNOTATOR_FAILPOINT"
SLEEP_S = 3600.0


class Failed(RuntimeError):
    """An armed failpoint with the action `raise` was reached."""


def failpoint(name: str) -> None:
    """Do what `ANNOTATOR_FAILPOINT` says when it names this place; ValueError for an unknown action."""
    armed, _, action = os.environ.get(VARIABLE, "").partition(":")
    if not armed or armed != name:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "raise":
        raise Failed(f"The failpoint {name} was reached.")
    elif action == "sleep":
        time.sleep(SLEEP_S)
    else:
        raise ValueError(f"{VARIABLE}: the action of a failpoint is kill, raise or sleep, not {action!r}.")
