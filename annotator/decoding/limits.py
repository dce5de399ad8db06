"""What one picture may cost the process that decodes it; the kernel holds the limits, not our code."""

from __future__ import annotations

import contextlib
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from annotator.decoding.pixels import MAX_BYTES


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one picture."""

    cpu_s: float = 5.0  # processor time until its size is known, and as a base afterwards
    cpu_s_per_megapixel: float = 0.2
    wall_s: float = 600.0  # held by the server; a process that stands back may get a tenth of a processor
    memory: int = 2**30  # bytes beside the process itself and the bytes of the file

    def cpu_for(self, pixels: int) -> float:
        """Seconds of processor time for a picture of this size."""
        return self.cpu_s + self.cpu_s_per_megapixel * pixels / 1e6


def settle() -> None:
    """For the whole life of a decoding process: it writes no file, dumps no core, and dies first.

    When memory runs out everywhere, the kernel ends the process with the highest score.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with contextlib.suppress(OSError):  # where there is no /proc, the score stays as it is
        Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")


def allow(limits: Limits, file_bytes: int) -> None:
    """Begin a picture: its memory from here on, and its first seconds."""
    size = _address_space()
    if size is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = size + limits.memory + min(file_bytes, MAX_BYTES)
        resource.setrlimit(
            resource.RLIMIT_AS, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
        )
    _end_after(limits.cpu_s)


def allow_pixels(limits: Limits, pixels: int) -> None:
    """The size is known: processor time in proportion."""
    _end_after(limits.cpu_for(pixels))


def rest() -> None:
    """The picture is done: time no longer counts."""
    signal.setitimer(signal.ITIMER_PROF, 0)


def _end_after(seconds: float) -> None:
    """The kernel ends this process once it has used so much more processor time (SIGPROF)."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _address_space() -> int | None:
    """Bytes of memory this process has mapped; None where the system does not say."""
    if sys.platform != "linux":
        return None
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()
