"""A-10, N-15: a day's work opens no connection to another machine, in none of the processes."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from annotator.demo import render_demo
from tests.faults.claims import FULL, Claims
from tests.faults.servers import ROOT, ticks, whole

GUARD = Path(__file__).parent / "guard"


def guarded(log: Path) -> dict[str, str]:
    """Variables for a process that notes and refuses outgoing connections."""
    path = os.pathsep.join([str(GUARD), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"CONNECTION_LOG": str(log), "PYTHONPATH": path}


def noted(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


def program(log: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "ANNOTATOR_THREADS": "1", **guarded(log)},
        timeout=180,
    )


class Client:
    """Asks one server; every answer must be 200."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __call__(self, path: str, body: Any = None) -> Any:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)) as connection:
            content = None if body is None else json.dumps(body)
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request("GET" if body is None else "POST", path, content, headers)
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status == 200, (path, answer.status, said[:300])
            kind = answer.getheader("Content-Type", "")
        return json.loads(said) if kind.startswith("application/json") else said


def train(ask: Client, base: str) -> dict[str, Any]:
    """Train and wait for the generation; the project's status then."""
    ask(f"{base}/retrain", {})
    for _ in ticks(180, 0.25):
        status: dict[str, Any] = ask(f"{base}/status")
        if status["generation"] is not None:
            return status
        assert status["job"] is None or status["job"]["status"] != "failed", status
    raise AssertionError(f"no generation came: {status}")


@pytest.mark.parametrize("backbone", ["lite0-320"] if FULL else ["tiny"])
def test_import_training_serving_and_export_connect_to_nobody(
    tmp_path: Path, claim: Claims, backbone: str
) -> None:
    shown = claim(
        "N-15",
        "Import, training, the page, suggestions and export open no connection to another machine.",
        unit="requests",
    )
    scenes = render_demo(tmp_path / "scenes", count=30)
    data_dir, log = tmp_path / "data", tmp_path / "connections.txt"
    arguments = ("--labels", str(scenes / "labels.csv"), "--project", "p", "--data-dir", str(data_dir))
    done = program(log, "-m", "annotator", "import", str(scenes / "images"), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    with whole(data_dir, ANNOTATOR_BACKBONE=backbone, **guarded(log)) as server:
        ask = Client(server.port)
        assert b"gradio" in ask("/")
        base = f"/api/projects/{ask('/api/projects')[0]['id']}"
        train(ask, base)
        category = ask(f"{base}/categories")[0]["id"]
        added = ask(f"{base}/categories", {"name": "something new"})
        image = ask(f"{base}/deck")["questions"][0]["image_id"]
        paths = [f"{base}/images/{image}", f"/img/{image}", f"{base}/grid?category={added['id']}"]
        paths += [f"{base}/export/coco", f"{base}/export/csv", f"{base}/status", "/healthz"]
        for path in paths:
            ask(path)
        assert ask(f"{base}/images/{image}/attention/{category}")["values"]
        server.end()
    done = program(log, "-m", "annotator", "export", str(tmp_path / "out.csv"), *arguments[2:])
    assert done.returncode == 0, done.stdout + done.stderr
    assert noted(log) == []
    shown.done(len(paths) + 8)


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "import urllib.request as u; u.urlopen('http://example.invalid/')",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', "
        "\"import socket; socket.gethostbyname('example.invalid')\"], check=True)",
    ],
)
def test_the_guard_sees_every_attempt(tmp_path: Path, attempt: str) -> None:
    log = tmp_path / "connections.txt"
    assert program(log, "-c", attempt).returncode != 0
    assert len(noted(log)) == 1


def test_the_guard_lets_this_machine_through(tmp_path: Path) -> None:
    log = tmp_path / "connections.txt"
    own = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); "
        "socket.create_connection(('localhost', s.getsockname()[1])).close()"
    )
    done = program(log, "-c", own)
    assert (done.returncode, noted(log)) == (0, []), done.stderr
