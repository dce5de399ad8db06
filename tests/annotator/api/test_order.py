"""Questions and grids as the page asks for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from annotator.records import Category, Image, Project
from annotator.store import Store, categories, decisions, now_ms
from tests.annotator.generation_builder import build, decide

QUESTION = {"image_id", "why", "category_id", "blind"}


@pytest.fixture
def learnt(store: Store, project: Project, pictures: list[Image], cat: Category) -> None:
    decide(store, project, [(pictures[0].id, cat.id, 1), (pictures[1].id, cat.id, -1)])
    logits = np.linspace(-2, 2, 8)[:, None]
    build(store, project, logits=logits, with_instances=False)


def test_a_deck_has_questions_orders_and_no_proposal_before_a_training(
    client: TestClient, base: str, pictures: list[Image], cat: Category
) -> None:
    found = client.get(f"{base}/deck").json()
    assert set(found) == {"ids", "generation", "strategy", "note", "questions", "strategies", "proposal"}
    assert [set(one) for one in found["questions"]] == [QUESTION] * 8
    assert [one["image_id"] for one in found["questions"]] == found["ids"]
    assert [one["name"] for one in found["strategies"]] == [
        "value", "likely", "uncertain", "random", "diverse", "disagreement", "coverage",
    ]  # fmt: skip
    assert all(one["words"] for one in found["strategies"])
    assert found["proposal"] is None


def test_a_deck_after_a_training_leads_with_a_cell_and_proposes(
    client: TestClient, base: str, pictures: list[Image], cat: Category, learnt: None
) -> None:
    found = client.get(f"{base}/deck", params={"strategy": "likely"}).json()
    assert found["strategy"] == "likely"
    assert found["ids"][0] == pictures[-1].id
    assert found["questions"][0]["category_id"] == cat.id and "cat" in found["questions"][0]["why"]
    proposal = client.get(f"{base}/deck").json()["proposal"]
    assert set(proposal) == {"mode", "category_id", "cells", "seconds", "words"}
    assert proposal["mode"] == "grid" and proposal["category_id"] == cat.id and proposal["cells"] == 6


@pytest.mark.parametrize("path", ["deck?strategy=best", "grid?category={cat}&strategy=best"])
def test_an_unknown_order_is_refused_in_one_sentence(
    client: TestClient, base: str, cat: Category, path: str
) -> None:
    answer = client.get(f"{base}/{path.format(cat=cat.id)}")
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith('There is no order "best"; there is: value, likely')


def test_a_grid_has_pictures_with_addresses_and_probabilities(
    client: TestClient, base: str, pictures: list[Image], cat: Category, learnt: None
) -> None:
    found = client.get(f"{base}/grid", params={"category": cat.id, "limit": 2, "strategy": "likely"}).json()
    assert set(found) == {"category_id", "generation", "why", "seconds", "cells"}
    assert found["category_id"] == cat.id and found["seconds"] > 0 and "cat" in found["why"]
    first = found["cells"][0]
    assert first == {
        "image_id": pictures[-1].id,
        "name": "p7.jpg",
        "thumb": f"/img/{pictures[-1].id}?size=thumb",
        "url": f"/img/{pictures[-1].id}?size=full",
        "p": pytest.approx(1 / (1 + np.exp(-2)), abs=1e-3),
    }
    assert len(found["cells"]) == 2


def test_a_grid_of_something_unlearnt_has_no_probabilities(
    client: TestClient, base: str, pictures: list[Image], cat: Category
) -> None:
    found = client.get(f"{base}/grid", params={"category": cat.id}).json()
    assert len(found["cells"]) == 8 and {one["p"] for one in found["cells"]} == {None}
    assert found["generation"] is None


@pytest.mark.parametrize(
    "query", ["", "category=x", "category=+1", "category=1&limit=501", "category=1&limit=0"]
)
def test_a_grid_needs_a_category_and_a_bounded_limit(client: TestClient, base: str, query: str) -> None:
    assert client.get(f"{base}/grid?{query}").status_code == 422


def test_a_category_that_is_not_active_is_not_found(
    client: TestClient, store: Store, base: str, pictures: list[Image], cat: Category
) -> None:
    store.write(lambda c: categories.archive(c, cat.id, now=now_ms()))
    for path in ("deck", "grid"):
        answer = client.get(f"{base}/{path}", params={"category": cat.id})
        assert answer.status_code == 404
        assert f"no active category {cat.id}" in answer.json()["error"]["message"]
        assert client.get(f"/api/projects/99/{path}", params={"category": cat.id}).status_code == 404


def post(client: TestClient, base: str, op: str, image: Image, cat: Category, **more: Any) -> None:
    body = {"op_id": f"operation-{op}", "image_id": image.id, "category_id": cat.id, **more}
    assert client.post(f"{base}/decisions", json={"decisions": [body]}).status_code == 200


@pytest.mark.parametrize("mode", ["blind", "grid"])
def test_answers_keep_how_they_were_asked_and_can_be_undone(
    client: TestClient,
    store: Store,
    project: Project,
    base: str,
    pictures: list[Image],
    cat: Category,
    mode: str,
) -> None:
    drawn = mode == "blind"
    more = {"mode": mode, "random_stream": drawn, "shown_ms": 700}
    post(client, base, "1", pictures[2], cat, state="positive", **more)
    open_cells = client.get(f"{base}/grid", params={"category": cat.id}).json()["cells"]
    assert pictures[2].id not in {one["image_id"] for one in open_cells}
    with store.read() as c:
        (given,) = decisions.given(c, project.id, after=0, limit=9)
    assert (given.mode, given.random_stream, given.shown_ms, given.takes_back) == (mode, drawn, 700, False)
    post(client, base, "2", pictures[2], cat, state="unknown", undo_of="operation-1", **more)
    open_cells = client.get(f"{base}/grid", params={"category": cat.id}).json()["cells"]
    assert pictures[2].id in {one["image_id"] for one in open_cells}
    with store.read() as c:
        newest, _ = decisions.given(c, project.id, after=0, limit=9)
        assert newest.takes_back
        assert decisions.given(c, project.id, after=1, limit=9) == [newest]
        assert decisions.given(c, project.id, after=0, limit=1) == [newest]


def test_a_blind_answer_with_a_score_is_refused(
    client: TestClient, base: str, pictures: list[Image], cat: Category
) -> None:
    body = {
        "op_id": "operation-1",
        "image_id": pictures[0].id,
        "category_id": cat.id,
        "state": "positive",
        "mode": "blind",
        "random_stream": True,
        "score": 0.5,
    }
    answer = client.post(f"{base}/decisions", json={"decisions": [body]})
    assert answer.status_code == 422
    assert "without a suggestion" in answer.json()["error"]["message"]
    del body["score"]
    assert client.post(f"{base}/decisions", json={"decisions": [body]}).status_code == 200
