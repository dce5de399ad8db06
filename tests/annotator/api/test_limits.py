"""How much, how many at once, and in which wrapping (A-30, A-31, A-41, A-42, A-43)."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from annotator.actions import Actions
from annotator.api import guard as guard_module
from annotator.api import rules
from annotator.api.files import LABEL_FILES
from annotator.api.guard import EXPORTS_AT_ONCE, PICTURES_AT_ONCE, QUESTIONS_AT_ONCE, Guard
from annotator.errors import BadFile
from annotator.previews import LabelPreview
from annotator.records import Category, Image, Project
from annotator.settings import Settings
from annotator.store import Store, decisions
from tests import running
from tests.annotator.api.people import World
from tests.annotator.asgi import Reply, Wire, answers, ask

BOUNDARY = "multipart/form-data; boundary=x"


def part(name: str, content: bytes, extra: str = "", file: str | None = "labels.csv") -> bytes:
    named = f'; filename="{file}"' if file is not None else ""
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"{named}\r\n{extra}\r\n'
    return head.encode() + content + b"\r\n"


END = b"--x--\r\n"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(part("text", b"y" * 2_000_000, file=None) + END, id="a text part of 2 MB"),
        pytest.param(part("f", b"y", file=None) * 10_000 + END, id="10,000 parts"),
        pytest.param(part("f", b"y") * 10_000 + END, id="10,000 files"),
        pytest.param(part("f", b"y", extra=f"X-Big: {'z' * 1_000_000}\r\n") + END, id="a huge part header"),
        pytest.param(part("f", b"y", extra="X-Many: z\r\n" * 10_000) + END, id="10,000 part headers"),
        pytest.param(b"\r\n" * 5_000_000, id="a preamble of 10 MB and nothing else"),
        pytest.param(part("file", b"file_name,cat\n")[:-2], id="cut off"),
        pytest.param(b"", id="nothing"),
    ],
)
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # the form reader leaves files to gc
def test_a_strange_multipart_body_is_refused_and_the_server_lives(
    client: TestClient, app: FastAPI, project: Project, body: bytes
) -> None:
    (reply,) = answers(
        app, [Wire("POST", f"/api/projects/{project.id}/labels", (("Content-Type", BOUNDARY),), body)]
    )
    assert reply.status in {400, 413, 415, 422}, reply.text
    assert reply.code
    assert client.get("/healthz").status_code == 200


def test_a_multipart_body_that_is_right_arrives(app: FastAPI, project: Project) -> None:
    body = part("file", b"file_name,cat\n") + END
    (reply,) = answers(
        app, [Wire("POST", f"/api/projects/{project.id}/labels", (("Content-Type", BOUNDARY),), body)]
    )
    assert reply.status == 200, reply.text


@pytest.mark.parametrize("packing", ["gzip", "br", "deflate", "zstd", "GZIP", "identity, gzip"])
def test_a_compressed_body_is_not_unpacked(client: TestClient, base: str, packing: str) -> None:
    bomb = gzip.compress(b'{"name": "' + b" " * 10_000_000 + b'"}')
    headers = {"Content-Type": "application/json", "Content-Encoding": packing}
    answer = client.post(f"{base}/categories", content=bomb, headers=headers)
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "compressed"


def test_a_form_of_ten_megabytes_is_refused(client: TestClient) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for body in (b"a=" + b"b" * 10_000_000, b"&" * 500_000, b"a=b;" * 500_000):
        assert client.post("/login", content=body, headers=form).status_code == 413


@pytest.mark.parametrize("length", [10 * 2**30, 2**63, 10**30])
def test_a_body_that_claims_ten_gigabytes_is_refused_unread(
    app: FastAPI, project: Project, length: int
) -> None:
    for path, kind in (("decisions", "application/json"), ("labels", BOUNDARY)):
        headers = (("Content-Type", kind), ("Content-Length", str(length)))
        (reply,) = answers(app, [Wire("POST", f"/api/projects/{project.id}/{path}", headers, b"{}")])
        assert reply.status == 413
        assert reply.header("connection") == "close"


def test_an_address_has_a_longest_length(app: FastAPI, base: str) -> None:
    long = "x" * rules.ADDRESS_LIMIT
    for target in (f"{base}/deck?strategy={long}", f"/{long}"):
        (reply,) = answers(app, [Wire("GET", target)])
        assert (reply.status, reply.code) == (414, "address_too_long")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"name": NaN}', 400),
        (b'{"name": "cat", "name": "dog"}', 422),
        (b"\xef\xbb\xbf" + b'{"name": "cat"}', 400),
        ('{"name": "cat"}'.encode("utf-16"), 400),
        (b'{"name": ' + b"[" * 100_000, 400),
        (b'{"name": ' + b"9" * 5000 + b"}", 422),
        (b'{"name": "\\ud800"}', 422),
        (b'{"name": "a\\u0000b"}', 422),
        (b'{"name": "dog\\u202e"}', 422),
        (b'{"name": 1e400}', 422),
    ],
)
def test_json_has_one_meaning_or_none(client: TestClient, base: str, body: bytes, status: int) -> None:
    answer = client.post(f"{base}/categories", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert client.get(f"{base}/categories").json() == []


def test_the_twin_of_a_category_is_a_conflict(client: TestClient, base: str) -> None:
    assert client.post(f"{base}/categories", json={"name": " Caf\u00e9\n"}).json()["name"] == "Caf\u00e9"
    for twin in ("Cafe\u0301", "CAF\u00c9", "caf\u00e9 "):
        assert client.post(f"{base}/categories", json={"name": twin}).status_code == 409
    assert len(client.get(f"{base}/categories").json()) == 1


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=1000000000",
        "limit=1;drop",
        "limit=1.5",
        "limit=9223372036854775808",
        "limit=NaN",
        "category=9223372036854775808",
        "category=-1",
        "category=1.0",
        "category=%2B1",
        "strategy=__class__",
        "strategy=user.password_hash",
        "strategy=" + "x" * 1001,
        "strategy=%25_",
        "strategy=%00",
    ],
)
def test_a_parameter_out_of_bounds_is_refused_by_name(client: TestClient, base: str, query: str) -> None:
    for path in ("deck", "grid"):
        answer = client.get(f"{base}/{path}?{query}")
        assert answer.status_code in {404, 422}, answer.text
        assert len(answer.json()["error"]["message"]) <= 500


@pytest.mark.parametrize("ids", [range(1, 200), [2**53 - 1, 2**53, 2**62, 2**63, 2**64, 10**30, 0, -1]])
def test_answers_for_pictures_that_do_not_exist_are_refused(
    client: TestClient, store: Store, project: Project, base: str, cat: Category, ids: Any
) -> None:
    for number in ids:
        one = {
            "op_id": f"op-{number:08d}"[:64],
            "image_id": number,
            "category_id": cat.id,
            "state": "positive",
        }
        assert client.post(f"{base}/decisions", json={"decisions": [one]}).status_code in {404, 422}
    with store.read() as c:
        assert decisions.head_seq(c, project.id) == 0


@pytest.fixture
def picture_id(app: FastAPI, project: Project, tmp_path: Path, make_picture: Callable[..., Path]) -> int:
    actions: Actions = app.state.actions
    assert actions.import_files(project.id, [make_picture(tmp_path / "a.jpg")]).added == 1
    return int(actions.deck(project.id).ids[0])


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("bytes=0-9", 206),
        ("bytes=-5", 206),
        ("bytes=0-1,2-3", 416),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(1000)), 416),
        ("bytes=99999999-", 416),
        ("lines=1-2", 400),
    ],
)
def test_a_picture_is_given_whole_or_as_one_range(
    app: FastAPI, picture_id: int, value: str, status: int
) -> None:
    (reply,) = answers(app, [Wire("GET", f"/img/{picture_id}", (("Range", value),))])
    assert reply.status == status, reply.text
    if status >= 400:
        assert reply.code


def test_an_odd_id_is_refused_in_one_sentence(client: TestClient, project: Project) -> None:
    answer = client.get(f"/api/projects/{project.id}/images/1/history?before=-1")
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == "query.before: an id is written in digits."


def test_ten_thousand_ranges_are_refused(app: FastAPI, picture_id: int) -> None:
    value = "bytes=" + ",".join("0-1" for _ in range(10_000))
    assert [one.status for one in answers(app, [Wire("GET", f"/img/{picture_id}", (("Range", value),))])] == [
        416
    ]


def test_one_person_gets_so_many_pictures_at_once_and_the_rest_on_asking_again(
    app: FastAPI, settings: Settings
) -> None:
    """Five hundred at a time: forty-eight are served, the others told to come back, and nobody else waits."""

    async def run() -> tuple[list[Reply], Reply, Reply]:
        release, started = asyncio.Event(), asyncio.Event()
        served = 0

        async def slow(scope: Scope, _receive: Receive, send: Send) -> None:
            nonlocal served
            if scope["path"].startswith("/img/"):
                served += 1
                if served == PICTURES_AT_ONCE:
                    started.set()
                await release.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x"})

        guard = Guard(slow, gate=app.state.gate, settings=settings)
        guard._user = lambda _scope, _judged: guard_module.Caller(1)  # type: ignore[method-assign]
        crowd = [asyncio.ensure_future(ask(guard, Wire("GET", "/img/1"))) for _ in range(500)]
        await started.wait()
        others = await ask(guard, Wire("GET", "/api/projects"))
        while sum(one.done() for one in crowd) < 500 - PICTURES_AT_ONCE:
            await asyncio.sleep(0)
        release.set()
        done = await asyncio.gather(*crowd)
        return list(done), others, await ask(guard, Wire("GET", "/img/1"))

    crowd, others, later = running.run(run())
    assert [one.status for one in crowd].count(200) == PICTURES_AT_ONCE
    refused = [one for one in crowd if one.status == 429]
    assert len(refused) == 500 - PICTURES_AT_ONCE
    assert {(one.code, one.header("retry-after")) for one in refused} == {("too_many_at_once", "1")}
    assert (others.status, later.status) == (200, 200)


async def _crowd(
    app: FastAPI, wire: Wire, limit: int, release: threading.Event, others: list[Wire]
) -> tuple[list[Reply], list[Reply]]:
    """A hundred of a request at once, and what others are answered while `limit` of them are held up."""
    crowd = [asyncio.ensure_future(ask(app, wire)) for _ in range(100)]
    try:
        async with asyncio.timeout(10):
            while sum(one.done() for one in crowd) < 100 - limit:
                await asyncio.sleep(0.01)
            beside = [await ask(app, other) for other in others]
    finally:
        release.set()
    return await asyncio.gather(*crowd), beside


def test_one_person_who_wants_a_hundred_exports_at_once_keeps_nobody_waiting(
    app: FastAPI, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A-40: each export takes a thread and a copy of the database for as long as it is made."""
    release = threading.Event()
    made: list[Path] = []

    def slow(_actions: Actions, _project_id: int, path: Path, *, check: Callable[[], None]) -> None:
        assert release.wait(30)
        path.write_text("file_name\n")
        made.append(path)

    monkeypatch.setattr(Actions, "export_csv", slow)
    export = Wire("GET", f"/api/projects/{project.id}/export/csv")

    other = Wire("GET", "/api/projects")
    crowd, beside = running.run(_crowd(app, export, EXPORTS_AT_ONCE, release, [other]))
    assert [one.status for one in beside] == [200]
    statuses = Counter(one.status for one in crowd)
    assert statuses == {200: EXPORTS_AT_ONCE, 429: 100 - EXPORTS_AT_ONCE} and len(made) == EXPORTS_AT_ONCE
    refused = next(one for one in crowd if one.status == 429)
    assert refused.code == "too_many_at_once" and "exports" in refused.text and refused.header("retry-after")
    assert [one.status for one in answers(app, [export])] == [200], "and its places are free again"


def test_one_person_who_asks_for_a_hundred_lists_at_once_keeps_nobody_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A-30: in a large project each takes a thread for a while; a save needs one to find out who sends it."""
    release, where = threading.Event(), world.places["home"].project_id
    real = Actions.deck

    def slow(actions: Actions, project_id: int, limit: int, **more: Any) -> Any:
        assert release.wait(30)
        return real(actions, project_id, limit, **more)

    monkeypatch.setattr(Actions, "deck", slow)
    viewer, annotator = (tuple(world.headers[one].items()) for one in ("viewer", "annotator"))
    deck = Wire("GET", f"/api/projects/{where}/deck", viewer)
    grid = Wire("GET", f"/api/projects/{where}/grid?category={world.places['home'].category_id}", viewer)

    status = Wire("GET", f"/api/projects/{where}/status", annotator)
    crowd, beside = running.run(_crowd(world.app, deck, QUESTIONS_AT_ONCE, release, [status, grid]))
    assert [one.status for one in beside] == [200, 429] and beside[1].code == "too_many_at_once"
    assert Counter(one.status for one in crowd) == {200: QUESTIONS_AT_ONCE, 429: 100 - QUESTIONS_AT_ONCE}
    assert [one.status for one in answers(world.app, [deck, grid])] == [200, 200], "its places are free again"


def test_one_person_who_sends_a_hundred_label_files_at_once_keeps_nobody_waiting(
    app: FastAPI, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A-30: each takes a thread for as long as it is read, and everybody else's answer needs one first."""
    release, each = threading.Event(), LABEL_FILES["each"]
    read: list[Path] = []

    def slow(_actions: Actions, _project_id: int, path: Path) -> LabelPreview:
        assert release.wait(30)
        read.append(path)
        raise BadFile(path.name, "it was read")

    monkeypatch.setattr(Actions, "preview_labels", slow)
    kind = ("Content-Type", BOUNDARY)
    body = part("file", b"file_name,cat\n") + END
    file = Wire("POST", f"/api/projects/{project.id}/labels?preview=true", (kind,), body)

    crowd, beside = running.run(_crowd(app, file, each, release, [Wire("GET", "/api/projects")]))
    assert [one.status for one in beside] == [200]
    statuses = Counter(one.status for one in crowd)
    assert statuses == {422: each, 429: 100 - each} and len(read) == each
    refused = next(one for one in crowd if one.status == 429)
    assert refused.code == "too_many_at_once" and refused.header("retry-after") == "3"
    assert "Many label files" in refused.text
    assert [one.status for one in answers(app, [file])] == [422], "and its places are free again"


def test_a_client_that_sends_nothing_on_gets_a_timeout_in_our_words(
    app: FastAPI, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "SLOW_GRACE_S", 0.1)
    begun = {"categories": ("application/json", b"{"), "labels": (BOUNDARY, part("file", b"file_name")[:-2])}
    for path, (kind, body) in begun.items():
        reply = running.run(_stalled(app, f"/api/projects/{project.id}/{path}", kind.encode(), body))
        assert reply[0] == 408
        assert json.loads(reply[1])["error"]["code"] == "too_slow"


async def _stalled(app: FastAPI, path: str, kind: bytes, body: bytes) -> tuple[int, bytes]:
    sent: list[dict[str, Any]] = []
    first = [{"type": "http.request", "body": body, "more_body": True}]

    async def receive() -> dict[str, Any]:
        if first:
            return first.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1:7860"), (b"content-type", kind), (b"content-length", b"1000")]
    scope = {"type": "http", "method": "POST", "scheme": "http", "path": path, "raw_path": path.encode()}
    scope |= {"query_string": b"", "root_path": "", "headers": headers, "client": ("127.0.0.1", 1)}
    await app(
        scope | {"http_version": "1.1", "asgi": {"version": "3.0"}, "server": ("127.0.0.1", 7860)},
        receive,
        send,
    )
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def test_a_refused_picture_uses_up_no_place(pictures: list[Image], client: TestClient) -> None:
    for image in pictures:  # rows without files: refused again and again, and no place is used up
        for _ in range(PICTURES_AT_ONCE // 4):
            assert client.get(f"/img/{image.id}").status_code in {404, 410, 503}
