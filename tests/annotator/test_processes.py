"""Standing back behind those that people wait for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from annotator.processes import NICENESS, born

TOLD = """
import os, threading
os.setpriority(os.PRIO_PROCESS, 0, {begin}) if {begin} > os.getpriority(os.PRIO_PROCESS, 0) else None
from annotator.processes import stand_back
stand_back()
stand_back()
threading.Thread(target=lambda: print(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))).start()
"""


@pytest.mark.parametrize("begin", [0, 5, NICENESS, 15])
def test_a_process_gets_the_niceness_or_keeps_a_larger_one(begin: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TOLD.format(begin=begin)], capture_output=True, text=True, check=True
    )
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert int(done.stdout) == max(own, begin, NICENESS)


def test_a_process_is_told_from_a_later_one_with_its_number() -> None:
    assert born(os.getpid()) == born(os.getpid()) != ""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as later:
        assert born(later.pid) not in ("", born(os.getpid()))
        later.kill()
    assert born(2**30) == ""
