"""A-24 against `annotator run`: a right ends while an export, a picture and event streams are on their way.

The export and the picture go to clients that read slowly, so that they are still being sent.
"""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from annotator.people import Role
from annotator.records import NewImage
from annotator.settings import Settings
from annotator.store import Store, images, members
from annotator.store.copying import TEMPORARY
from tests.annotator.api.people import NOW, Place, account, place, session
from tests.faults.claims import Claims, size
from tests.faults.servers import Server, ticks, whole

IMAGES = 300
LONG = "\N{PILE OF POO}" * 4_000  # twelve bytes each in the file: more than the buffers of a connection hold
PICTURE_BYTES = 32 * 2**20
WAIT_S = 60.0


@dataclass
class Hall:
    """A running server, its places, and everybody's cookie."""

    server: Server
    data_dir: Path
    places: dict[str, Place]
    headers: dict[str, dict[str, str]]
    opened: list[HTTPConnection | Slow] = field(default_factory=list)

    def person(self, name: str) -> int:
        """A new account of that name that is admin of all places, in two browsers."""
        store = Store.open(Settings(data_dir=self.data_dir))
        try:
            made, self.headers[name] = account(store, f"{name} {len(self.opened)}")
            for where in self.places.values():
                store.write(
                    partial(members.put, project_id=where.project_id, user_id=made, role=Role.ADMIN, now=NOW)
                )
            self.headers[f"{name} too"] = session(store, made)
        finally:
            store.close()
        return made

    def ask(self, who: str, method: str, path: str, body: Any = None) -> HTTPResponse:
        """A request whose answer is read to its end later."""
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=WAIT_S)
        self.opened.append(connection)
        headers = dict(self.headers[who])
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        return connection.getresponse()

    def done(self, who: str, method: str, path: str, body: Any = None) -> None:
        answer = self.ask(who, method, path, body)
        assert answer.status == 200, answer.read()

    def slowly(self, who: str, path: str) -> Slow:
        found = Slow(self.server.port, path, self.headers[who])
        self.opened.append(found)
        return found

    def cuts(self) -> int:
        """How many answers the server says it has cut."""
        return self.server.output().count("The answer was cut while it was given")

    def exports(self) -> list[Path]:
        return list((self.data_dir / TEMPORARY).glob("export-*"))


class Slow:
    """A client with a small buffer that reads the head of an answer and then takes its time."""

    def __init__(self, port: int, path: str, headers: dict[str, str]) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(WAIT_S)
        self._socket.connect(("127.0.0.1", port))
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            *(f"{k}: {v}" for k, v in headers.items()),
        ]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self.answer = HTTPResponse(self._socket)
        self.answer.begin()

    def rest(self) -> int:
        """Read to the end of the connection; how many bytes came."""
        try:
            return len(self.answer.read())
        except IncompleteRead as short:
            return len(short.partial)

    def close(self) -> None:
        """Leave."""
        self.answer.close()
        self._socket.close()


def fill(c: Connection, home: Place) -> None:
    """Pictures with long names, whose export is large, and one whose file is."""
    for number in range(IMAGES):
        sha = f"{number:064x}"
        path = f"originals/{sha[:2]}/{sha}.bmp"
        new = NewImage(
            sha256=sha,
            name=f"{LONG}{number}.bmp",
            media_type="image/bmp",
            width=40,
            height=30,
            original=path,
            canonical=path,
        )
        images.add(c, home.project_id, new, now=NOW)


@pytest.fixture(scope="module")
def hall(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    data_dir = tmp_path_factory.mktemp("lasting") / "data"
    data_dir.mkdir()
    settings = Settings(data_dir=data_dir)
    shutil.copyfile(migrated, settings.database)
    store = Store.open(settings)
    places = {name: place(store, name) for name in ("home", "other")}
    store.write(lambda c: fill(c, places["home"]))
    with store.read() as c:
        shown = images.get(c, places["home"].image_id)
    (data_dir / shown.canonical).write_bytes(b"\xff" * PICTURE_BYTES)
    headers: dict[str, dict[str, str]] = {}
    _, headers["boss"] = account(store, "boss", is_admin=True)
    store.close()
    with whole(data_dir, ANNOTATOR_SINGLE_USER="false") as server:
        found = Hall(server, data_dir, places, headers)
        yield found
        for one in found.opened:
            one.close()


def end(hall: Hall, who: str, user_id: int) -> None:
    """What the name of the person says."""
    member = f"/api/projects/{hall.places['home'].project_id}/members/{user_id}"
    if who == "removed":
        hall.done("boss", "DELETE", member)
    elif who == "lowered":
        hall.done("boss", "PUT", member, {"role": "viewer"})
    elif who == "disabled":
        hall.done("boss", "POST", f"/api/users/{user_id}/disable")
    else:
        assert hall.ask(who, "POST", "/logout").status == 303


def event_of(hall: Hall, who: str) -> int:
    """The number of some event of the page that is queued."""
    config = json.loads(hall.ask(who, "GET", "/config").read())
    return next(int(one["id"]) for one in config["dependencies"] if one["queue"] and one["backend_fn"])


def stream_of_events(hall: Hall, who: str, name: str) -> HTTPResponse:
    """The stream of a page that waits for what its next events give; one has been there before."""
    event = {"data": [None] * 9, "fn_index": event_of(hall, who), "session_hash": name}
    assert hall.ask(who, "POST", "/gradio_api/queue/join", event).status == 200
    path = f"/gradio_api/queue/data?session_hash={name}"
    assert b"close_stream" in hall.ask(who, "GET", path).read()
    return hall.ask(who, "GET", path)


def seconds_to_end(answer: HTTPResponse, began: float) -> float:
    """Wait until a stream breaks off; one that ends properly fails the test."""
    with pytest.raises(IncompleteRead):
        answer.read()
    return time.monotonic() - began


@pytest.mark.parametrize("who", ["removed", "lowered", "disabled", "signed out"])
def test_whatever_is_on_its_way_ends_with_the_right_to_it(hall: Hall, who: str, claim: Claims) -> None:
    home, user_id = hall.places["home"].project_id, hall.person(who)
    shown = claim(
        "A-24", f"{who}: the streams, the export and the picture on their way are cut", unit="answers"
    )
    still_allowed = who == "lowered"  # a viewer may see the picture
    out = who in {"disabled", "signed out"}
    streams = [stream_of_events(hall, who, f"s{number}") for number in range(size(2, 20))]
    beats = [hall.ask(who, "GET", f"/gradio_api/heartbeat/h{number}") for number in range(size(2, 20))]
    bystander = hall.ask("boss", "GET", "/gradio_api/heartbeat/boss")
    assert all(beat.readline() == b"data: ALIVE\n" for beat in [*beats, bystander])
    export = hall.slowly(who, f"/api/projects/{home}/export/coco")
    picture = hall.slowly(who, f"/img/{hall.places['home'].image_id}")
    lengths = [int(slow.answer.headers["Content-Length"]) for slow in (export, picture)]
    assert min(lengths) > 10 * 2**20 and len(hall.exports()) == 1

    wanted = hall.cuts() + len(streams) + (len(beats) if out else 0) + 2 - still_allowed
    end(hall, who, user_id)
    began = time.monotonic()
    took = [seconds_to_end(stream, began) for stream in streams]
    took += [seconds_to_end(beat, began) for beat in beats if out]
    for _ in ticks(WAIT_S):
        if not hall.exports() and hall.cuts() == wanted:
            break
    took.append(time.monotonic() - began)
    assert hall.exports() == [], "the file of the export is still there"
    assert hall.cuts() == wanted
    assert export.rest() < lengths[0], "the part looks whole"
    if still_allowed:
        assert picture.rest() == lengths[1]
    else:
        assert picture.rest() < lengths[1]
    assert bystander.readline() == b"\n" and not bystander.isclosed()
    shown.done(len(took) + 1 - still_allowed, slowest_s=round(max(took), 1), promised_s=5)
    again = hall.ask(who, "GET", f"/api/projects/{home}/status").status
    assert again == {"removed": 404, "lowered": 200}.get(who, 401)
    assert hall.ask(f"{who} too", "GET", "/api/me").status == (401 if who == "disabled" else 200)
