"""Requests that want too much of a server (A-30): bodies too long, slow, lying, compressed, of many parts.

    python -m tests.faults.attacks PORT PROJECT SECONDS SLOW [--hasty]

carries all of them out at once, each again and again for SECONDS, beside SLOW connections that send a byte a
second, and prints one line of JSON: for each attack how often it was answered how, and the longest wait.
`--hasty` leaves out those that only the server's patience ends.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

WITHIN_S = 30.0  # until an answer or the end of the connection
AGAIN_S = 0.5  # between two of the same kind
CUT = "cut"
OPEN = "still open"
REFUSALS = frozenset({400, 408, 413, 415, 422, 431})

Body = Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Attack:
    """A request: its head without `Host`, its body in pieces, and the seconds between two of them."""

    name: str
    head: str
    body: Body
    pause_s: float = 0.0
    patient: bool = False
    """Only the server's patience ends it."""
    unfinished: bool = False
    """The body goes on with the last header, and the head never ends."""

    def opening(self, port: int) -> bytes:
        """The head as it is sent."""
        first, _, rest = self.head.partition("\r\n")
        end = "" if self.unfinished else "\r\n\r\n"
        return f"{first}\r\nHost: 127.0.0.1:{port}\r\n{rest}{end}".encode()


@dataclass
class Outcome:
    """How often an attack was answered how (a status, `cut`, `still open`), and the longest wait (s)."""

    answers: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0

    def harmless(self) -> bool:
        """Every one was refused or cut in time."""
        good = {str(status) for status in REFUSALS} | {CUT}
        return bool(self.answers) and set(self.answers) <= good and self.longest_s <= WITHIN_S


def attacks(project: int) -> list[Attack]:
    """All of them, against routes that take JSON, forms, and files by our route and by the page's."""
    save = f"POST /api/projects/{project}/decisions HTTP/1.1\r\nContent-Type: application/json"
    made = [
        Attack("10 GB announced", f"{save}\r\nContent-Length: {10**10}", lambda: _repeat(b"x" * 65536, 16)),
        Attack(
            "10 GB in chunks", f"{save}\r\nTransfer-Encoding: chunked", lambda: _chunks(b" " * 65536, 160_000)
        ),
        Attack("1 B/s", f"{save}\r\nContent-Length: 900", lambda: _repeat(b" ", 900), 1.0, True),
        Attack("less than announced", f"{save}\r\nContent-Length: 900", lambda: iter([b"{"]), 0.0, True),
        Attack(
            "more than announced", f"{save}\r\nContent-Length: 2", lambda: iter([b"{}" + b"GET\0" * 9999])
        ),
        Attack("two lengths", f"{save}\r\nContent-Length: 2\r\nContent-Length: 3", lambda: iter([b"{}x"])),
        Attack("length and chunks", f"{save}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked", _smuggled),
        Attack("gzip bomb", f"{save}\r\nContent-Encoding: gzip\r\nContent-Length: {len(BOMB)}", _bomb),
    ]
    form = "POST /login HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded"
    sizes = (
        ("announced", f"Content-Length: {10 * MB}", False),
        ("in chunks", "Transfer-Encoding: chunked", True),
    )
    for name, length, chunked in sizes:
        made.append(Attack(f"urlencoded 10 MB {name}", f"{form}\r\n{length}", _form(chunked)))
    for place, path in (("route", f"/api/projects/{project}/labels"), ("page", "/gradio_api/upload")):
        head = f"POST {path} HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x"
        made += [
            Attack(f"{name}, {place}", f"{head}\r\nTransfer-Encoding: chunked", body)
            for name, body in MULTIPART.items()
        ]
        made.append(Attack(f"10 GB file, {place}", f"{head}\r\nContent-Length: {10**10}", _files_part))
    return made


MB = 10**6
END = b"--x--\r\n"


def _part(name: str, more: str = "", file: bool = True) -> bytes:
    named = '; filename="labels.csv"' if file else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{named}\r\n{more}\r\n'.encode()


def _text_part() -> Iterator[bytes]:
    return _chunked([_part("text", file=False), *[b"y" * 65536] * 31, b"\r\n", END])


def _many_parts() -> Iterator[bytes]:
    return _chunked([*[(_part("f", file=False) + b"y\r\n") * 100] * 100, END])


def _many_files() -> Iterator[bytes]:
    return _chunked([*[(_part("f") + b"y\r\n") * 100] * 100, END])


def _huge_header() -> Iterator[bytes]:
    return _chunked([_part("f")[:-2] + b"X-Big: ", *[b"z" * 65536] * 160, b"\r\n\r\ny\r\n", END])


def _preamble() -> Iterator[bytes]:
    return _chunked([b"\r\n" * 32768] * 160)


MULTIPART: dict[str, Body] = {
    "2 MB text part": _text_part,
    "10,000 parts": _many_parts,
    "10,000 files": _many_files,
    "10 MB part header": _huge_header,
    "10 MB preamble": _preamble,
}
BOMB = gzip.compress(b"0" * 300 * MB, 9)


def _bomb() -> Iterator[bytes]:
    yield BOMB


def _smuggled() -> Iterator[bytes]:
    yield b"0\r\n\r\nGET /api/projects HTTP/1.1\r\n\r\n"


def _files_part() -> Iterator[bytes]:
    return _repeat(_part("file") + b"x" * 65536, 16)


def _form(chunked: bool) -> Body:
    pieces = [b"password=" + b"&a=b;" * 13107] * 160
    return lambda: _chunked(pieces) if chunked else iter(pieces)


def _repeat(piece: bytes, count: int) -> Iterator[bytes]:
    return (piece for _ in range(count))


def _chunks(piece: bytes, count: int) -> Iterator[bytes]:
    return _chunked([piece] * count)


def _chunked(pieces: Sequence[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield b"%x\r\n%s\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


DRIP = Attack(
    "slow connections", "GET / HTTP/1.1\r\nX-Slow: ", lambda: _repeat(b"x", 3600), 1.0, True, unfinished=True
)


async def carry_out(attack: Attack, port: int) -> tuple[str, float]:
    """Send one; the answer's status, `cut` or `still open`, and the seconds it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sending = asyncio.create_task(_send(attack, port, writer))
    try:
        async with asyncio.timeout(WITHIN_S):
            answer = await _status(reader)
    except TimeoutError:
        answer = OPEN
    took = loop.time() - began
    sending.cancel()
    with suppress(asyncio.CancelledError):
        await sending
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return answer, took


async def _send(attack: Attack, port: int, writer: asyncio.StreamWriter) -> None:
    """Write until everything is written or nobody takes it any more."""
    with suppress(OSError):
        writer.write(attack.opening(port))
        for piece in attack.body():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(attack.pause_s)


async def _status(reader: asyncio.StreamReader) -> str:
    try:
        line = await reader.readline()
    except OSError:
        return CUT
    return line.split()[1].decode() if line else CUT


async def assault(port: int, chosen: Sequence[Attack], *, seconds: float, slow: int) -> dict[str, Outcome]:
    """All attacks at once, each again and again for `seconds`, beside `slow` heads that never end."""
    outcomes = {attack.name: Outcome() for attack in (*chosen, DRIP)}
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds

    async def note(attack: Attack) -> None:
        answer, took = await carry_out(attack, port)
        outcome = outcomes[attack.name]
        outcome.answers[answer] += 1
        outcome.longest_s = max(outcome.longest_s, took)

    async def again_and_again(attack: Attack) -> None:
        await note(attack)
        while loop.time() < end:
            await asyncio.sleep(AGAIN_S)
            await note(attack)

    await asyncio.gather(*map(again_and_again, chosen), *(note(DRIP) for _ in range(slow)))
    return {name: outcome for name, outcome in outcomes.items() if outcome.answers}


def main() -> None:
    """Attack as the arguments say; one line of JSON for whoever started this."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("port", type=int)
    parser.add_argument("project", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("slow", type=int)
    parser.add_argument("--hasty", action="store_true")
    options = parser.parse_args()
    chosen = [one for one in attacks(options.project) if not (options.hasty and one.patient)]
    found = asyncio.run(assault(options.port, chosen, seconds=options.seconds, slow=options.slow))
    told = {name: {"answers": one.answers, "longest_s": one.longest_s} for name, one in found.items()}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
