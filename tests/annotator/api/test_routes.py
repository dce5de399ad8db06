"""The JSON routes, as the page calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from annotator.records import Category, Image, Project
from annotator.store import Store, categories, decisions, now_ms
from tests.annotator.generation_builder import GRID, build, decide


def decision(image: Image, category: Category, **more: Any) -> dict[str, Any]:
    return {
        "op_id": "op-00000001",
        "image_id": image.id,
        "category_id": category.id,
        "state": "positive",
    } | more


def send(client: TestClient, base: str, *new: dict[str, Any]) -> Any:
    return client.post(f"{base}/decisions", json={"decisions": list(new)})


def stored(store: Store, project: Project) -> int:
    with store.read() as c:
        return decisions.head_seq(c, project.id)


def test_importing_the_application_leaves_torch_and_gradio_alone() -> None:
    code = "import sys, annotator.api.app; print({'torch', 'gradio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_health_says_only_that_the_server_answers(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


def test_projects_and_categories(
    client: TestClient, project: Project, base: str, pictures: list[Image]
) -> None:
    assert client.get("/api/projects").json() == [{"id": project.id, "name": "holiday", "images": 8}]
    made = client.post(f"{base}/categories", json={"name": "dog"})
    assert made.status_code == 200
    expected = {
        "id": made.json()["id"],
        "name": "dog",
        "position": 0,
        "positive": 0,
        "negative": 0,
        "unsure": 0,
    }
    assert client.get(f"{base}/categories").json() == [expected]
    again = client.post(f"{base}/categories", json={"name": "DOG"})
    assert again.status_code == 409
    assert again.json()["error"]["code"] == "duplicate_category"


def test_an_answer_is_stored_counted_and_shown(
    client: TestClient, base: str, pictures: list[Image], cat: Category
) -> None:
    receipt = send(client, base, decision(pictures[0], cat, shown_ms=900, score=0.5, mode="image"))
    assert receipt.status_code == 200
    seq = receipt.json()["head_seq"]
    assert receipt.json()["results"] == [{"op_id": "op-00000001", "seq": seq, "stored": True}]
    item = client.get(f"{base}/images/{pictures[0].id}").json()
    assert item["cells"] == [{"category_id": cat.id, "state": "positive", "seq": seq}]
    assert item["image"] == {
        "id": pictures[0].id,
        "name": "p0.jpg",
        "width": 40,
        "height": 30,
        "state": "ready",
        "url": f"/img/{pictures[0].id}?size=full",
        "thumb": f"/img/{pictures[0].id}?size=thumb",
    }
    assert client.get(f"{base}/categories").json()[0]["positive"] == 1


def test_the_same_operation_twice_is_stored_once(
    client: TestClient, store: Store, project: Project, base: str, pictures: list[Image], cat: Category
) -> None:
    first = send(client, base, decision(pictures[0], cat)).json()
    second = send(client, base, decision(pictures[0], cat)).json()
    assert second["results"] == [first["results"][0] | {"stored": False}]
    assert second["head_seq"] == first["head_seq"] == stored(store, project)


def test_unknown_clears_the_cell(client: TestClient, base: str, pictures: list[Image], cat: Category) -> None:
    send(client, base, decision(pictures[0], cat))
    back = decision(pictures[0], cat, op_id="op-00000002", state="unknown", undo_of="op-00000001")
    assert send(client, base, back).status_code == 200
    assert client.get(f"{base}/images/{pictures[0].id}").json()["cells"] == []


@pytest.mark.parametrize("wrong", [{"image_id": 9999}, {"category_id": 9999}])
def test_an_unknown_id_is_named_and_nothing_of_the_batch_is_stored(
    client: TestClient,
    store: Store,
    project: Project,
    base: str,
    pictures: list[Image],
    cat: Category,
    wrong: dict[str, int],
) -> None:
    good = decision(pictures[0], cat)
    answer = send(client, base, good, decision(pictures[1], cat, op_id="op-00000002") | wrong)
    assert answer.status_code == 404
    assert "9999" in answer.json()["error"]["message"]
    assert stored(store, project) == 0


def test_an_answer_for_another_projects_picture_is_refused(
    client: TestClient, app: FastAPI, store: Store, project: Project, pictures: list[Image], cat: Category
) -> None:
    other = app.state.actions.create_project("other")
    answer = send(client, f"/api/projects/{other.id}", decision(pictures[0], cat))
    assert answer.status_code in {404, 422}
    assert stored(store, project) == stored(store, other) == 0


def test_a_late_answer_for_an_archived_category_is_accepted(
    client: TestClient, store: Store, base: str, pictures: list[Image], cat: Category
) -> None:
    store.write(lambda c: categories.archive(c, cat.id, now=now_ms()))
    assert send(client, base, decision(pictures[0], cat)).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": 7},
        {"decided_at": 1},
        {"seq": 1},
        {"state": "maybe"},
        {"state": 1},
        {"state": True},
        {"source": "imported"},
        {"source": "derived"},
        {"op_id": "short"},
        {"op_id": "x" * 65},
        {"op_id": "op-0000001\n"},
        {"op_id": "import-0123456789abcdef"},  # taken by somebody, the cell would count as imported
        {"image_id": "1"},
        {"image_id": 1.0},
        {"image_id": True},
        {"image_id": 0},
        {"image_id": -1},
        {"image_id": 2**63},
        {"image_id": 10**30},
        {"category_id": None},
        {"score": 1.5},
        {"score": "0.5"},
        {"shown_ms": -1},
        {"shown_ms": 1.5},
        {"mode": "IMAGE\n"},
        {"random_stream": 1},
    ],
)
def test_a_body_that_is_not_exactly_right_is_refused_whole(
    client: TestClient,
    store: Store,
    project: Project,
    base: str,
    pictures: list[Image],
    cat: Category,
    change: dict[str, Any],
) -> None:
    answer = send(client, base, decision(pictures[1], cat), decision(pictures[0], cat) | change)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["code"] in {"invalid", "bad_value"}
    assert next(iter(change)) in answer.json()["error"]["message"]
    assert stored(store, project) == 0


@pytest.mark.parametrize("size", [0, 1001])
def test_a_batch_has_one_to_a_thousand_answers(
    client: TestClient, base: str, pictures: list[Image], cat: Category, size: int
) -> None:
    new = [decision(pictures[0], cat, op_id=f"operation-{i:05d}") for i in range(size)]
    assert send(client, base, *new).status_code == 422


def test_a_thousand_answers_go_through_at_once(
    client: TestClient, base: str, pictures: list[Image], cat: Category
) -> None:
    new = [decision(pictures[i % 8], cat, op_id=f"operation-{i:05d}") for i in range(1000)]
    assert len(send(client, base, *new).json()["results"]) == 1000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"decisions": [' + b"[" * 100_000,
        b'{"decisions": ' + b"9" * 5000 + b"}",
        b'{"decisions": NaN}',
        b"\xff\xfe{\x00}\x00",
        b'{"decisions": [{"op_id": "op-00000001\\ud800"}]}',
    ],
)
def test_a_body_that_is_no_sane_json_is_refused_and_the_server_lives(
    client: TestClient, base: str, body: bytes
) -> None:
    answer = client.post(f"{base}/decisions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}, answer.text
    assert set(answer.json()["error"]) >= {"code", "message"}
    assert client.get("/healthz").status_code == 200


def test_numbers_that_are_no_numbers_are_refused(
    client: TestClient, base: str, pictures: list[Image], cat: Category
) -> None:
    for word in ("NaN", "Infinity", "1e999"):
        body = json.dumps({"decisions": [decision(pictures[0], cat, score=0.5)]}).replace("0.5", word)
        answer = client.post(f"{base}/decisions", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in {400, 422}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON)
def test_no_json_whatever_makes_the_server_fail(client: TestClient, base: str, body: Any) -> None:
    for sent in (body, {"decisions": body}):
        assert client.post(f"{base}/decisions", json=sent).status_code == 422


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", str(2**63), str(10**30), "%2e%2e", "1%00", "1%0a"])
def test_an_id_that_is_no_id_is_refused(client: TestClient, base: str, number: str) -> None:
    for path in (f"/img/{number}", f"{base}/images/{number}", f"/api/projects/{number}/status"):
        assert client.get(path).status_code in {404, 422}, path


def test_every_refusal_has_the_same_shape(client: TestClient, base: str) -> None:
    for answer in (
        client.get("/api/projects/999/status"),
        client.get("/nothing"),
        client.put("/api/projects"),
        client.get(f"{base}/deck?limit=x"),
        client.get("/healthz", headers={"Host": "evil"}),
    ):
        assert set(answer.json()) == {"error"}
        assert set(answer.json()["error"]) - {"hint"} == {"code", "message", "request_id"}
        assert len(answer.json()["error"]["request_id"]) == 16
        assert "Traceback" not in answer.text


def test_candidates_carry_probability_basis_and_evidence(
    client: TestClient, store: Store, project: Project, base: str, pictures: list[Image], cat: Category
) -> None:
    empty = client.get(f"{base}/images/{pictures[0].id}").json()
    assert empty["candidates"] == [] and "Press /" in empty["note"] and empty["generation"] is None
    decide(store, project, [(image.id, cat.id, 1 if i % 2 else -1) for i, image in enumerate(pictures[:6])])
    built = build(store, project)
    found = client.get(f"{base}/images/{pictures[7].id}").json()
    assert found["generation"] == built.record.id
    (candidate,) = found["candidates"]
    assert set(candidate) == {"category_id", "p", "basis", "known", "evidence"}
    assert candidate["basis"] == "model+neighbours" and candidate["known"] == 6
    assert [one["state"] for one in candidate["evidence"]] == ["positive"] * 3 + ["negative"] * 3
    assert candidate["evidence"][0]["thumb"] == f"/img/{candidate['evidence'][0]['image_id']}?size=thumb"


def test_attention_is_a_grid_of_bytes_or_a_sentence(
    client: TestClient, store: Store, project: Project, base: str, pictures: list[Image], cat: Category
) -> None:
    path = f"{base}/images/{pictures[2].id}/attention/{cat.id}"
    missing = client.get(path)
    assert missing.status_code == 404
    assert "no trained generation yet" in missing.json()["error"]["message"]
    decide(store, project, [(pictures[0].id, cat.id, 1)])
    built = build(store, project)
    expected = built.attention[2, 0].tolist()
    assert client.get(path).json() == {"grid": list(GRID), "values": expected, "generation": built.record.id}


def test_the_deck_is_bounded_and_named(
    client: TestClient, base: str, pictures: list[Image], cat: Category
) -> None:
    found = client.get(f"{base}/deck?limit=3").json()
    assert len(found["ids"]) == 3
    assert set(found) >= {"ids", "generation", "strategy", "note"}
    for limit in ("0", "-1", "1000000", "1;drop"):
        assert client.get(f"{base}/deck", params={"limit": limit}).status_code == 422


def test_status_retrain_and_cancel_speak_one_language(
    client: TestClient, base: str, pictures: list[Image], cat: Category
) -> None:
    before = client.get(f"{base}/status").json()
    assert before["counts"]["unknown"] == 8 and before["job"] is None and before["generation"] is None
    assert before["worker"] == {"alive": False, "seen_ms_ago": None, "doing": ""}
    refused = client.post(f"{base}/retrain").json()
    assert (
        refused["job_id"] is None and not refused["created"] and "Nothing is labelled" in refused["message"]
    )
    send(client, base, decision(pictures[0], cat))
    made = client.post(f"{base}/retrain").json()
    assert made["created"]
    assert client.post(f"{base}/retrain").json()["job_id"] == made["job_id"]
    after = client.get(f"{base}/status").json()
    assert after["job"]["id"] == made["job_id"] and after["job"]["status"] == "queued"
    words = "id kind status stage done total message curves started_at cancel_requested"
    assert set(after["job"]) == set(words.split())
    assert after["new_decisions"] == 1 and after["trains_after"] == 49
    assert client.post(f"{base}/cancel").json() == {"message": "The waiting training is cancelled."}


def test_the_current_generation_is_described(
    client: TestClient, store: Store, project: Project, base: str, pictures: list[Image], cat: Category
) -> None:
    decide(store, project, [(pictures[0].id, cat.id, 1)])
    built = build(store, project)
    found = client.get(f"{base}/status").json()["generation"]
    assert found == {
        "id": built.record.id,
        "status": "current",
        "created_at": built.record.created_at,
        "map": 0.5,
        "metrics": {"map": 0.5},
    }
