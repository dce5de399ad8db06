"""A-33: a picture may cost its own process some time and memory, and nothing else anything at all."""

from __future__ import annotations

import functools
import io
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from annotator.decoding import pool, wire
from annotator.decoding.limits import Limits
from annotator.decoding.pixels import probe_and_normalise
from annotator.decoding.pool import Decoders
from annotator.errors import BadFile, StoreError, TypeNotAccepted
from annotator.processes import NICENESS
from tests.annotator.decoding import samples
from tests.annotator.decoding.samples import chunk, png, quarters, save
from tests.conftest import picture_bytes

LIMIT = 120_000_000


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    made = Decoders(1)
    yield made
    made.close()


@pytest.fixture
def strict() -> Iterator[Callable[..., Decoders]]:
    made: list[Decoders] = []

    def maker(size: int = 1, idle_s: float = 30.0, **limits: Any) -> Decoders:
        made.append(Decoders(size, Limits(**limits), idle_s=idle_s))
        return made[-1]

    yield maker
    for one in made:
        one.close()


def children_of(parent: int) -> set[int]:
    """Processes that run the decoder for `parent`."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # it ended while we looked
        if int(words[1]) == parent and words[0] != "Z" and b"annotator.decoding.child" in command:
            found.add(int(folder.name))
    return found


@functools.cache
def many_scans() -> bytes:
    """A progressive JPEG that has its last scan ten thousand times."""
    data = save(Pillow.new("L", (4000, 4000), 100), "JPEG", progressive=True)
    place = data.rindex(b"\xff\xda")
    return data[:place] + data[place:-2] * 10_000 + b"\xff\xd9"


def long_gif(frames: int) -> bytes:
    one = save(Pillow.new("P", (4, 4), 1), "GIF")
    start = one.index(b"\x2c")
    return one[:start] + one[start:-1] * frames + b"\x3b"


def looping_tiff() -> bytes:
    data = bytearray(samples.deep_tiff("<"))
    count = struct.unpack_from("<H", data, 8)[0]
    struct.pack_into("<I", data, 10 + 12 * count, 8)  # the next directory is this one
    return bytes(data)


def test_another_process_gives_what_this_one_gives(decoders: Decoders) -> None:
    files = [
        picture_bytes(suffix, size=(size, 33), seed=size, mode=mode)
        for suffix in (".jpg", ".png", ".bmp", ".gif", ".tif", ".webp")
        for mode in ("RGB", "L")
        for size in (20, 400)
    ]
    files += [samples.turned(6, "JPEG"), samples.ycck(), samples.interlaced(), long_gif(3), quarters_avif()]
    for data in files:
        assert decoders.decode(data, "x", LIMIT) == probe_and_normalise(data, "x", LIMIT)


def quarters_avif() -> bytes:
    return save(quarters(), "AVIF")


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (b"", BadFile, r"the file is empty \(0 bytes\)"),
        (b"<svg/>", TypeNotAccepted, "it is not a JPEG"),
        (samples.png((13_000, 13_000), zlib.compress(bytes(10)), depth=1), BadFile, "13000 x 13000 pixels"),
        (png((65_500, 65_500), b""), BadFile, "65500 x 65500 pixels, the limit is 120000000"),
        (png((0, 9), zlib.compress(b"")), BadFile, "it has no pixels|damaged"),
        (
            png(
                (1, 1),
                zlib.compress(b"\0\0"),
                more=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100 << 20))),
            ),
            BadFile,
            "damaged",
        ),
        (picture_bytes(".jpg", size=(200, 150))[:900], BadFile, "damaged"),
    ],
    ids=["empty", "svg", "bomb", "65500", "0xN", "text bomb", "cut"],
)
def test_hostile_pictures_are_refused_in_words_and_the_process_lives(
    decoders: Decoders, data: bytes, kind: type[BadFile], reason: str
) -> None:
    decoders.decode(picture_bytes(), "good", LIMIT)
    before = children_of(os.getpid())
    with pytest.raises(kind, match=reason) as caught:
        decoders.decode(data, "x.jpg", LIMIT)
    assert caught.value.name == "x.jpg"
    assert children_of(os.getpid()) == before


def test_a_gif_of_100000_frames_is_its_first(decoders: Decoders) -> None:
    normal = decoders.decode(long_gif(100_000), "x", LIMIT)
    assert "first" in normal.note


def test_a_tiff_whose_directories_run_in_a_circle_comes_to_an_end(decoders: Decoders) -> None:
    assert decoders.decode(looping_tiff(), "x", LIMIT).width == samples.SIZE[0]


def test_a_jpeg_of_ten_thousand_scans_is_ended_and_the_next_picture_is_read(
    strict: Callable[..., Decoders],
) -> None:
    made = strict(cpu_s=0.5, cpu_s_per_megapixel=0.0)
    with pytest.raises(BadFile, match=r"x.jpg: decoding it takes too long \(limit: 0.5 s"):
        made.decode(many_scans(), "x.jpg", LIMIT)
    assert made.decode(picture_bytes(), "good", LIMIT).width == 40


def test_a_picture_that_needs_more_memory_than_it_may_is_refused_and_the_process_lives(
    strict: Callable[..., Decoders],
) -> None:
    made = strict(memory=64 << 20)
    big = save(Pillow.new("RGB", (6000, 5000), "red"), "PNG")
    made.decode(picture_bytes(), "good", LIMIT)
    before = children_of(os.getpid())
    with pytest.raises(BadFile, match="it needs more than 64 MiB of memory to decode"):
        made.decode(big, "big.png", LIMIT)
    assert made.decode(picture_bytes(), "good", LIMIT).width == 40
    assert children_of(os.getpid()) == before


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGB", "PNG"), ("RGBA", "PNG"), ("CMYK", "TIFF"), ("F", "TIFF"), ("P", "PNG")]
)
def test_a_large_picture_is_held_at_most_twice(strict: Callable[..., Decoders], mode: str, kind: str) -> None:
    """The largest picture allowed, 120 megapixels, then fits 1 GiB: here a twelfth of both."""
    made = strict(memory=(2**30 - (64 << 20)) // 12 + (64 << 20))
    data = save(Pillow.new(mode, (4000, 2500)), kind)
    assert made.decode(data, "x", LIMIT).height == 2500


def test_the_thumbnail_of_a_100_megapixel_jpeg_never_holds_all_of_it(strict: Callable[..., Decoders]) -> None:
    """R-31: `draft` decodes at an eighth; all pixels would be 400 MB."""
    data = save(Pillow.new("RGB", (10_000, 10_000), "green"), "JPEG", quality=50)
    normal = strict(memory=96 << 20).decode(data, "x", LIMIT)
    assert (normal.width, normal.canonical) == (10_000, None)
    assert Pillow.open(io.BytesIO(normal.thumbnail)).size == (256, 256)


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1), (1, 1)])
def test_strips_and_single_pixels_are_read(decoders: Decoders, size: tuple[int, int]) -> None:
    for suffix in (".png", ".jpg"):
        normal = decoders.decode(picture_bytes(suffix, size=size), "x", LIMIT)
        assert (normal.width, normal.height) == size


def test_a_process_that_hangs_is_ended(strict: Callable[..., Decoders]) -> None:
    made = strict(wall_s=60.0)
    made.decode(picture_bytes(), "good", LIMIT)
    hung = newest_child(made)
    os.kill(hung, signal.SIGSTOP)
    made._limits = Limits(wall_s=0.3)
    with pytest.raises(BadFile, match=r"x.jpg: it could not be decoded within 0.3 seconds"):
        made.decode(picture_bytes(), "x.jpg", LIMIT)
    made._limits = Limits()
    assert made.decode(picture_bytes(), "good", LIMIT).width == 40
    assert hung not in children_of(os.getpid())


def test_a_decoding_process_stands_back_behind_the_server(strict: Callable[..., Decoders]) -> None:
    made = strict()
    made.decode(picture_bytes(), "good", LIMIT)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, newest_child(made)) == max(own, NICENESS)


def newest_child(made: Decoders) -> int:
    return made._free.queue[-1]._popen.pid


@pytest.mark.parametrize(
    ("number", "reason"),
    [(signal.SIGSEGV, "its decoder crashed"), (signal.SIGKILL, "more than 1024 MiB of memory to decode, or")],
)
def test_a_process_that_dies_over_a_picture_costs_that_picture_only(
    strict: Callable[..., Decoders], number: signal.Signals, reason: str
) -> None:
    made = strict(cpu_s=60.0)
    made.decode(picture_bytes(), "good", LIMIT)
    busy = newest_child(made)
    threading.Timer(0.3, os.kill, (busy, number)).start()
    with pytest.raises(BadFile, match=reason):
        made.decode(many_scans(), "x.jpg", LIMIT)
    assert made.decode(picture_bytes(), "good", LIMIT).width == 40


def test_a_process_that_went_home_for_want_of_work_is_replaced_unseen(
    strict: Callable[..., Decoders],
) -> None:
    made = strict(idle_s=0.1)
    for _ in range(3):
        assert made.decode(picture_bytes(), "x", LIMIT).width == 40
        made._free.queue[-1]._popen.wait(20)


def test_no_more_processes_than_allowed_however_many_threads_ask(strict: Callable[..., Decoders]) -> None:
    made = strict(2)
    before = children_of(os.getpid())
    files = [picture_bytes(seed=seed, size=(20 + seed, 20)) for seed in range(40)]
    with ThreadPoolExecutor(8) as threads:
        widths = list(threads.map(lambda data: made.decode(data, "x", LIMIT).width, files))
    assert widths == [20 + seed for seed in range(40)]
    assert 1 <= len(children_of(os.getpid()) - before) <= 2


def test_dying_processes_leave_no_open_files(strict: Callable[..., Decoders]) -> None:
    made = strict(cpu_s=0.05, cpu_s_per_megapixel=0.0)
    data = many_scans()
    counts = []
    for _ in range(4):
        with pytest.raises(BadFile, match="takes too long"):
            made.decode(data, "x", LIMIT)
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
    assert counts[-1] == counts[0]


def test_a_process_that_cannot_start_stops_the_import_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool.sys, "executable", "/nowhere/python")
    with pytest.raises(
        StoreError, match=r"^Pictures cannot be checked: no decoding process starts \(.*\)\.$"
    ):
        Decoders(1).decode(picture_bytes(), "x", LIMIT)
    monkeypatch.setattr(pool.sys, "executable", "/bin/false")
    with pytest.raises(StoreError, match="exit status"):
        Decoders(1).decode(picture_bytes(), "x", LIMIT)


ORPHANS = """
import sys, time
from annotator.decoding.pool import shared
shared().decode(sys.stdin.buffer.read(), "x", 10**9)
print("ready", flush=True)
time.sleep(600)
"""


def test_a_killed_server_leaves_no_decoder_behind() -> None:
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANS], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        server.stdin.write(picture_bytes())
        server.stdin.close()
        assert server.stdout.readline() == b"ready\n"
        left = children_of(server.pid)
        server.kill()
    assert left
    for _ in range(500):
        if not any(Path(f"/proc/{pid}").exists() for pid in left):
            return
        time.sleep(0.02)
    pytest.fail("a decoding process outlived its server")


def test_a_decoding_process_loads_little_and_holds_no_secret() -> None:
    code = "import sys, annotator.decoding.child; print(chr(10).join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "gradio", "fastapi", "sqlalchemy", "pydantic", "faiss", "multiprocessing"}


def test_limits_of_the_process_hold(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANNOTATOR_SECRET", "x")
    with_env = Decoders(1)
    with_env.decode(picture_bytes(), "x", LIMIT)
    folder = Path(f"/proc/{newest_child(with_env)}")
    text = (folder / "limits").read_text()
    assert "Max core file size        0                    0" in text
    assert "Max file size             0                    0" in text
    assert b"ANNOTATOR_SECRET" not in (folder / "environ").read_bytes()
    with_env.close()


@pytest.mark.parametrize(
    "head",
    [
        {},
        {"outcome": "good"},
        {"outcome": "good", "ext": "../../x", "width": 1, "height": 1, "canonical_ext": "png"},
        {"outcome": "good", "ext": "jpg", "width": 1, "height": 1, "canonical_ext": "/etc/x"},
        {"outcome": "good", "ext": "jpg", "width": -1, "height": 1, "canonical_ext": "jpg"},
        {"outcome": "good", "ext": "jpg", "width": True, "height": 1, "canonical_ext": "jpg"},
    ],
)
def test_the_answer_of_a_decoder_is_not_trusted(head: dict[str, Any]) -> None:
    with pytest.raises(BadFile, match="senseless"):
        pool._normalised(head, [b"", b""], "x")


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"\xff\xff\xff\xff",
        b"\0\0\0\x02[]",
        b"\0\0\0\x02{{",
        b'\0\0\0\x0f{"blocks":[-1]}',
        b'\0\0\0\x0f{"blocks":[99]}',
        b'\0\0\0\x0e{"blocks":[3]}ab',
    ],
)
def test_broken_messages_are_broken(data: bytes) -> None:
    with pytest.raises(wire.Broken):
        wire.receive(io.BytesIO(data), 10)


def test_messages_come_back() -> None:
    stream = io.BytesIO()
    wire.send(stream, {"a": "é"}, [b"12", b""])
    stream.seek(0)
    assert wire.receive(stream, 2) == ({"a": "é", "blocks": [2, 0]}, [b"12", b""])
    with pytest.raises(EOFError):
        wire.receive(stream, 2)
