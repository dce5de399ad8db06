"""Whatever is sent to the API, it answers in its own words and lives on (N-06).

2,000 requests here, 10,000 with FAULTS=full.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from annotator.actions import Actions
from annotator.api.app import create_app
from annotator.settings import Settings
from annotator.store import Store
from tests import running
from tests.annotator.asgi import Reply, Wire, ask
from tests.faults.api_inputs import operations, requests
from tests.faults.claims import Claims, size

COUNT = size(2_000, 10_000)
LEAKS = re.compile(r"Traceback|sqlalchemy|\b[A-Z]\w+Error\b|SELECT |INSERT |/site-packages/")
HANG_S = 60  # nothing here takes a second; longer is a hang


@pytest.fixture
def fuzzed(store: Store, settings: Settings, tmp_path: Path, make_picture: Callable[..., Path]) -> FastAPI:
    """A project with pictures, categories and answers, so that right requests find something."""
    app = create_app(store, settings)
    actions: Actions = app.state.actions
    project = actions.create_project("holiday")
    paths = [make_picture(tmp_path / f"picture{number}.jpg", seed=number) for number in range(3)]
    assert actions.import_files(project.id, paths).added == 3
    for name in ("cat", "dog", "traffic light"):
        actions.add_category(project.id, name)
    actions.create_project("second")
    return app


@pytest.fixture
def run() -> Iterator[running.Run]:
    with running.one_loop() as made:
        yield made


def judge(wire: Wire, reply: Reply) -> None:
    """What has to be true of every answer."""
    where = (wire.method, wire.target[:300], wire.headers, wire.body[:300], reply.status, reply.text[:300])
    assert reply.status < 500, where
    assert not LEAKS.search(reply.text), where
    if reply.status >= 400 and "text/html" not in reply.header("content-type"):
        assert reply.code, where
    if reply.status == 429:
        assert reply.header("retry-after"), where
    assert reply.header("x-content-type-options") == "nosniff", where
    assert "frame-ancestors 'none'" in reply.header("content-security-policy"), where


def test_no_request_whatever_makes_the_server_fail(fuzzed: FastAPI, run: running.Run, claim: Claims) -> None:
    shown = claim(
        "N-06",
        "Requests to the API, right, almost right and hostile: no answer of 500 or more, no trace, every "
        "refusal in the one envelope, the process alive",
        unit="requests",
    )
    known = operations(fuzzed.openapi())
    assert len(known) > 25
    seen: Counter[tuple[str, str]] = Counter()
    statuses: Counter[int] = Counter()

    @settings(
        max_examples=COUNT,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(known).flatmap(lambda one: st.tuples(st.just(one), requests(one))))
    def fuzz(drawn: object) -> None:
        operation, wire = drawn  # type: ignore[misc]
        reply = run(asyncio.wait_for(ask(fuzzed, wire), HANG_S))
        judge(wire, reply)
        seen[operation.method, operation.path] += 1
        statuses[reply.status] += 1

    fuzz()
    assert sum(seen.values()) >= COUNT
    assert set(seen) == {(one.method, one.path) for one in known}, "an operation was never tried"
    assert {200, 400, 404, 405, 415, 422} <= set(statuses), statuses
    alive = run(ask(fuzzed, Wire("GET", "/healthz")))
    assert json.loads(alive.body)["status"] == "ok"
    shown.done(
        sum(seen.values()),
        operations=len(seen),
        statuses={str(key): n for key, n in sorted(statuses.items())},
    )
