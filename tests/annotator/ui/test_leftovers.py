"""An upload that is refused or broken off leaves no file behind (A-30)."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from annotator.settings import Settings
from annotator.store import Store
from annotator.store.copying import TEMPORARY
from annotator.ui.app import create_site
from annotator.ui.leftovers import Leftovers
from tests import running
from tests.annotator.asgi import Wire, answers

KIND = (("Content-Type", "multipart/form-data; boundary=x"),)
END = b"--x--\r\n"


def part(content: bytes, name: str = "a.jpg") -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n"


@pytest.fixture
def site(store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    return create_site(store, settings)


def in_pieces(app: FastAPI, size: int = 4096) -> ASGIApp:
    """The same application, to which bodies come as they come over a network."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        held: list[bytes] = []

        async def piece() -> Message:
            if not held:
                message = await receive()
                body = message.get("body", b"")
                held.extend(body[at : at + size] for at in range(0, len(body), size))
            return {"type": "http.request", "body": held.pop(0), "more_body": bool(held)}

        await app(scope, piece, send)

    return wrapped


def files(settings: Settings) -> list[Path]:
    folder = settings.data_dir / TEMPORARY / "gradio"
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_refused_upload_leaves_nothing_and_a_good_one_stays(
    site: FastAPI, settings: Settings, project: object
) -> None:
    text = b'--x\r\nContent-Disposition: form-data; name="t"\r\n\r\n' + b"t" * 10**6 + b"\r\n"
    bodies = [
        part(b"y") * 1001 + END,
        part(b"y" * 200_000)[:-2],
        part(b"y") + text + END,
        part(b"good") + part(b"other", "b.jpg") + END,
    ]
    told = answers(in_pieces(site), [Wire("POST", "/gradio_api/upload", KIND, body) for body in bodies])
    gc.collect()  # the toolkit leaves its open files to it, and Python warns of each
    assert [one.status for one in told] == [400, 400, 400, 200]
    assert [one.code for one in told[:3]] == ["not_multipart"] * 3
    kept = files(settings)
    assert [path.read_bytes() for path in kept] and sorted(map(str, kept)) == sorted(json.loads(told[3].body))


@pytest.mark.parametrize("target", ["/gradio_api/upload", "/gradio_api/upload?upload_id=abc"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_text_among_the_files_is_refused_before_the_toolkit_falls_over_it(
    site: FastAPI, settings: Settings, target: str
) -> None:
    text = b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\ntext\r\n'
    (told,) = answers(site, [Wire("POST", target, KIND, part(b"y") + text + END)])
    gc.collect()
    assert (told.status, told.code) == (400, "not_multipart") and "Part 2 is no file." in told.text
    assert files(settings) == []


def test_nothing_is_taken_away_from_an_upload_under_way(tmp_path: Path) -> None:
    leftovers = Leftovers(tmp_path)
    mine, finished = tmp_path / "tmpabcdefgh", tmp_path / "0123"
    finished.mkdir()

    async def both() -> None:
        async with leftovers.taken_away():
            mine.write_bytes(b"mine")
            (finished / "tmpabcdefgh").write_bytes(b"finished")
            async with leftovers.taken_away():
                pass
            assert mine.exists()
        assert not mine.exists()

    running.run(both())
    assert (finished / "tmpabcdefgh").exists()


def test_an_upload_that_begins_while_the_folder_is_looked_through_keeps_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred thousand uploads lie there: in the event loop the look would hold up everybody's answers."""
    leftovers = Leftovers(tmp_path)
    theirs, mine = tmp_path / "tmptheirs__", tmp_path / "tmpmine____"
    looking, begun = threading.Event(), threading.Event()
    real = Leftovers._unfinished

    def slow(self: Leftovers) -> list[Path]:
        assert threading.current_thread() is not threading.main_thread()
        looking.set()
        assert begun.wait(20)
        return real(self)

    async def ended() -> None:
        async with leftovers.taken_away():
            theirs.write_bytes(b"half")

    async def story() -> None:
        monkeypatch.setattr(Leftovers, "_unfinished", slow)
        first = asyncio.create_task(ended())
        await asyncio.to_thread(looking.wait, 20)
        async with leftovers.taken_away():
            mine.write_bytes(b"mine")
            begun.set()
            await first
            assert mine.exists()
        assert not mine.exists() and not theirs.exists()

    running.run(story())


def test_it_is_taken_away_also_when_the_sender_hangs_up(tmp_path: Path) -> None:
    leftovers = Leftovers(tmp_path / "none yet")
    half = tmp_path / "none yet" / "tmp0000____"

    async def upload() -> None:
        async with leftovers.taken_away():
            half.parent.mkdir()
            half.write_bytes(b"half")
            await asyncio.Event().wait()

    async def broken_off() -> None:
        task = asyncio.create_task(upload())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    running.run(broken_off())
    assert half.parent.is_dir() and not half.exists()
