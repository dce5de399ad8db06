"""A-30: requests that want too much are refused or cut in time, cost little memory, stop nobody's work."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from annotator.store.copying import TEMPORARY
from benchmarks import abuse
from tests import running
from tests.faults import attacks
from tests.faults.attacks import CUT, OPEN, Attack, Outcome, carry_out
from tests.faults.besieged import attacked, memory_of, somebody_saving
from tests.faults.claims import FULL, Claims, size
from tests.faults.saving import examine, make_world
from tests.faults.servers import ticks, whole

MOST_MB = 50


def test_attacks_are_refused_and_cost_neither_memory_nor_answers(tmp_path: Path, claim: Claims) -> None:
    shown = claim(
        "A-30",
        "Bodies too long, too slow, lying, compressed or of too many parts are refused or cut within 30 s, "
        f"with less than {MOST_MB} MB more memory, no file left and nobody's answer lost.",
        unit="attacks",
    )
    world = make_world(tmp_path / "data")
    seconds, slow = size(2, 60), size(20, 200)
    with whole(world.data_dir) as server:
        with memory_of(server.pid) as memory, somebody_saving(world, server.port, "other") as other:
            found = attacked(
                server.port, world.project, seconds=seconds, slow=slow if FULL else 0, hasty=not FULL
            )
        said = server.output()
        left = [path for path in (world.data_dir / TEMPORARY).rglob("*") if path.is_file()]
    harmful = {name: outcome for name, outcome in found.items() if not outcome.harmless()}
    assert not harmful and set(found) >= {one.name for one in attacks.attacks(1) if FULL or not one.patient}
    assert memory[1] - memory[0] < MOST_MB, memory
    assert other.errors == [] and other.acknowledged and not examine(world.database, other.acknowledged)
    assert left == [] and "Traceback" not in said and "failed unexpectedly" not in said
    count = sum(sum(outcome.answers.values()) for outcome in found.values())
    assert FULL is False or found[attacks.DRIP.name].answers == {CUT: slow}
    shown.done(
        count,
        kinds=len(found),
        rss_growth_mb=round(memory[1] - memory[0], 1),
        saves_beside=len(other.acknowledged),
    )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n", "413"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "200"),
        (b"", CUT),
        (None, OPEN),
    ],
)
def test_an_answer_a_cut_and_a_server_that_waits_are_told_apart(
    answer: bytes | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harness tests itself: what takes everything, or waits for ever, is not harmless."""
    monkeypatch.setattr(attacks, "WITHIN_S", 0.2)

    async def ask() -> str:
        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                await reader.read()
            writer.write(answer or b"")
            writer.close()

        server = await asyncio.start_server(served, "127.0.0.1", 0)
        attack = Attack("", "POST / HTTP/1.1", lambda: iter([b"x"]))
        told, _ = await carry_out(attack, server.sockets[0].getsockname()[1])
        server.close()
        await server.wait_closed()
        return told

    assert running.run(ask()) == expected


def test_only_refusals_and_cuts_in_time_are_harmless() -> None:
    assert Outcome(Counter({"413": 2, CUT: 1}), 29.0).harmless()
    assert not Outcome(Counter({"413": 2, "200": 1}), 1.0).harmless()
    assert not Outcome(Counter({OPEN: 1}), 30.0).harmless()
    assert not Outcome(Counter({"413": 1}), 31.0).harmless() and not Outcome().harmless()


def test_a_bomb_is_one() -> None:
    assert len(attacks.BOMB) < 400_000, "the bomb is small on the wire"


def test_the_benchmark_tells_what_it_promises(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["abuse", "--seconds", "2", "--before", "2", "--slow", "0"])

    def calm(*_: object, **__: object) -> dict[str, Outcome]:
        for _ in ticks(2):
            pass
        return {"one": Outcome(Counter({"413": 3}), 0.5)}

    monkeypatch.setattr(abuse, "attacked", calm)
    abuse.main()
    name, _, figures = capsys.readouterr().out.strip().splitlines()[-1].partition(" ")
    found = json.loads(figures)
    assert name == "RESULT" and found["answers"] == {"one": {"413": 3}} and found["harmful"] == []
    assert {"rss_growth_mb", "other_save_p95_ms", "idle_save_p95_ms", "answers"} <= set(found)
    assert abuse.__doc__ is not None and {word for word in found if word not in abuse.__doc__} == set()
    assert found["errors"] == found["lost"] == 0 < found["idle_save_p95_ms"]


def test_a_wrong_option_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["abuse", "--quick", "--slow", "-1"])
    with pytest.raises(SystemExit) as stopped:
        abuse.main()
    assert stopped.value.code == 2 and "--slow between 0 and 1000" in capsys.readouterr().err
