"""The load benchmark runs everything it speaks of, and its people note what goes wrong."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import load, load_people
from benchmarks.load_people import Task, work
from tests import running
from tests.faults.claims import FULL, Claims
from tests.faults.saving import make_world

ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    "--quick", "--annotators", "6", "--seconds", "4", "--pictures", "24", "--import-pictures", "12",
)  # fmt: skip
LARGE = ("--seconds", "600", "--import-pictures", "10000")


@pytest.mark.alone  # its figures stand in docs/reliability.md: beside other tests they would be of those
def test_the_last_line_is_the_result(claim: Claims) -> None:
    shown = claim(
        "N-04",
        "While the server trains, imports, exports and lists, annotators lose no answer and meet no error.",
        unit="saves",
    )
    command = [sys.executable, "benchmarks/load.py", *(LARGE if FULL else SMALL)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2400)
    assert done.returncode == 0, done.stderr
    name, figures = done.stdout.strip().splitlines()[-1].split(" ", 1)
    found = json.loads(figures)
    assert name == "RESULT" and found["errors"] == found["plain_errors"] == found["lost"] == 0, done.stdout
    assert all(math.isfinite(value) for value in found.values())
    assert 0 < found["save_p95_ms"] <= found["save_p99_ms"] <= found["save_max_ms"]
    assert min(found["saves"], found["exports"], found["writer_per_s"], found["plain_per_s"]) > 0
    assert found["imported"] > 0, "nothing was imported meanwhile"
    assert load.__doc__ is not None and {word for word in found if word not in load.__doc__} == {
        "idle_save_p99_ms", "writer_p99_ms", "plain_p99_ms", "plain_errors",
    }  # fmt: skip
    told = (
        "save_p95_ms",
        "save_p99_ms",
        "save_max_ms",
        "next_p95_ms",
        "image_p95_ms",
        "training_share",
        "imported",
    )
    shown.done(int(found["saves"]), **{name: found[name] for name in told})


def test_an_acknowledged_answer_that_is_missing_is_counted(tmp_path: Path) -> None:
    world = make_world(tmp_path / "data", pictures=1)
    assert load.lost(world.database, ["never-stored"]) == 1 and load.lost(world.database, []) == 0


def test_a_server_that_is_gone_or_refuses_is_an_error(tmp_path: Path) -> None:
    async def refusing() -> load_people.Book:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        task = Task(port, 1, [1], [1, 2])
        options = {"annotators": 1, "think_s": 0.0, "seed": 0, "busy": False, "look": False}
        book = await work(task, "refused", seconds=0.2, **options)  # type: ignore[arg-type]
        server.close()
        await server.wait_closed()
        gone = await work(task, "gone", seconds=0.2, **options)  # type: ignore[arg-type]
        assert gone.acknowledged == [] and "ConnectionRefusedError" in gone.errors[0]
        return book

    book = running.run(refusing())
    assert book.acknowledged == [] and "503" in book.errors[0] and book.ms["save"]


def test_a_wrong_option_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["load", "--quick", "--pictures", "3"])
    with pytest.raises(SystemExit) as stopped:
        load.main()
    assert stopped.value.code == 2 and "--pictures 20" in capsys.readouterr().err
