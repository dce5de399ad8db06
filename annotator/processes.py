"""Processes of this machine: standing back behind those that people wait for, and telling two apart."""

from __future__ import annotations

import os
from pathlib import Path

NICENESS = 10  # of the worker, of decoding and of imports in the terminal; the server has 0


def stand_back() -> None:
    """Let whoever answers people go first: threads started from here on have `NICENESS`, or what it was.

    Called twice, or in a process whose parent stood back already, it changes nothing.
    """
    now = os.getpriority(os.PRIO_PROCESS, 0)
    if now < NICENESS:
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)


def born(pid: int) -> str:
    """When a process started, in ticks since the machine did; empty when there is none or no /proc.

    A process id alone may belong to somebody else by now.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]
