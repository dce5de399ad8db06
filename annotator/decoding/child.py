"""The decoding process: reads pictures from its standard input, answers on its standard output.

It ends when the other end of its input is closed, so it never outlives the server by more than the picture it
is busy with, and by itself after a while without work.
"""

from __future__ import annotations

import io
import os
import select
import sys
import warnings
from typing import Any, BinaryIO

from PIL import Image

from annotator import processes
from annotator.decoding import limits, wire
from annotator.decoding.limits import Limits
from annotator.decoding.pixels import MAX_BYTES, Normalised, probe_and_normalise
from annotator.errors import BadFile, TypeNotAccepted

TOO_MUCH_MEMORY = "it needs more than {} MiB of memory to decode"


def main() -> None:
    """Serve until the server is gone or has nothing to do for as many seconds as the argument says."""
    processes.stand_back()
    idle_s = float(sys.argv[1])
    requests, answers = _own_streams()
    warnings.simplefilter("ignore")  # Pillow's remarks about odd files: nobody is there to read them
    _warm_up()
    limits.settle()
    wire.send(answers, {"ready": True})
    _to_nowhere(sys.stderr.fileno())  # from here on only libraries would write there, about damaged files
    while select.select([requests], [], [], idle_s)[0]:
        try:
            head = wire.receive_head(requests)
        except EOFError:
            return
        answer(requests, answers, head)


def answer(requests: BinaryIO, answers: BinaryIO, head: dict[str, Any]) -> None:
    """Decode one picture within its limits and say what came out."""
    allowed = Limits(cpu_s=head["cpu_s"], cpu_s_per_megapixel=head["cpu_s_mp"], memory=head["memory"])
    limits.allow(allowed, sum(head["blocks"]))
    try:
        (data,) = wire.receive_blocks(requests, head, MAX_BYTES)
        normal = probe_and_normalise(
            data, "", head["max_pixels"], lambda pixels: limits.allow_pixels(allowed, pixels)
        )
    except BadFile as error:
        kind = "type" if isinstance(error, TypeNotAccepted) else "bad"
        wire.send(answers, {"outcome": kind, "reason": error.reason})
    except MemoryError:
        wire.send(answers, {"outcome": "bad", "reason": TOO_MUCH_MEMORY.format(allowed.memory >> 20)})
    else:
        _tell(answers, normal)
    finally:
        limits.rest()


def _tell(answers: BinaryIO, normal: Normalised) -> None:
    head = {
        "outcome": "good",
        "ext": normal.ext,
        "width": normal.width,
        "height": normal.height,
        "canonical_ext": normal.canonical_ext,
        "as_is": normal.canonical is None,
        "note": normal.note,
    }
    wire.send(answers, head, [normal.thumbnail, normal.canonical or b""])


def _own_streams() -> tuple[BinaryIO, BinaryIO]:
    """Requests and answers; whatever a library reads or prints goes nowhere."""
    requests = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    _to_nowhere(sys.stdin.fileno())
    _to_nowhere(sys.stdout.fileno())
    return requests, answers


def _to_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, number)
    os.close(nowhere)


def _warm_up() -> None:
    """Load what Pillow loads late, so that no picture pays for it and no limit meets an import."""
    for mode, kind in (("RGB", "JPEG"), ("RGB", "PNG"), ("I;16", "PNG")):
        target = io.BytesIO()
        Image.new(mode, (2, 2)).save(target, kind)
        probe_and_normalise(target.getvalue(), "", 4)


if __name__ == "__main__":
    main()
