"""Two people and one cell, the history of a cell, and a changing list of categories, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from annotator.actions import Actions
from annotator.records import Category, CellState, Image, NewDecision, Project
from annotator.store import Store, decisions, deeds, users
from tests.annotator.api.test_routes import decision, send, stored


@pytest.fixture
def actions(app: FastAPI) -> Actions:
    found: Actions = app.state.actions
    return found


@pytest.fixture
def ben(store: Store) -> int:
    return store.write(lambda c: users.create(c, "Ben", None, now=1)).id


def bens(image: Image, category: Category, state: CellState = CellState.POSITIVE) -> NewDecision:
    op_id = f"ben-{image.id}-{category.id}-{state.word}"
    return NewDecision(op_id=op_id, image_id=image.id, category_id=category.id, state=state)


def cells(client: TestClient, base: str, image: Image) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"{base}/images/{image.id}").json()["cells"]
    return found


# ---- conflicts


def test_a_conflict_is_a_409_with_both_values_and_nothing_of_the_batch_is_stored(
    client: TestClient,
    actions: Actions,
    project: Project,
    store: Store,
    base: str,
    pictures: list[Image],
    cat: Category,
    ben: int,
) -> None:
    actions.decide(project.id, [bens(pictures[0], cat)], ben)
    mine = decision(pictures[0], cat, state="negative", base_seq=0)
    other = decision(pictures[1], cat, op_id="op-00000002", base_seq=0)
    answer = send(client, base, other, mine)
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert error["code"] == "conflict"
    [cell] = error["cells"]
    assert cell.pop("decided_at") > 0
    assert cell == {
        "op_id": "op-00000001",
        "image_id": pictures[0].id,
        "category_id": cat.id,
        "mine": "negative",
        "theirs": "positive",
        "seq": 1,
        "user": "Ben",
    }
    assert stored(store, project) == 1
    assert send(client, base, other).status_code == 200
    assert send(client, base, mine | {"base_seq": cell["seq"]}).status_code == 200
    assert cells(client, base, pictures[0])[0]["state"] == "negative"


def test_the_item_names_the_base_and_an_own_answer_on_top_of_it_counts(
    client: TestClient, base: str, pictures: list[Image], cat: Category
) -> None:
    first = send(client, base, decision(pictures[0], cat, base_seq=0)).json()["results"][0]["seq"]
    assert cells(client, base, pictures[0]) == [{"category_id": cat.id, "state": "positive", "seq": first}]
    again = decision(pictures[0], cat, op_id="op-00000002", state="negative", base_seq=0, after="op-00000001")
    assert send(client, base, again).status_code == 200


def test_answers_of_another_person_on_the_same_computer_are_not_taken(
    client: TestClient,
    store: Store,
    project: Project,
    base: str,
    pictures: list[Image],
    cat: Category,
    ben: int,
) -> None:
    body = {"given_by": ben, "decisions": [decision(pictures[0], cat)]}
    answer = client.post(f"{base}/decisions", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "other_person")
    assert stored(store, project) == 0
    me = client.get("/api/me").json()["id"]
    assert client.post(f"{base}/decisions", json=body | {"given_by": me}).status_code == 200
    with store.read() as c:
        assert decisions.labels_of(c, [pictures[0].id])[pictures[0].id][cat.id].user_id == me


@pytest.mark.parametrize(
    "more",
    [{"seq": 9}, {"user_id": 2}, {"decided_at": 1}, {"stored": True}, {"base_seq": -1}, {"after": "x"}],
)
def test_what_only_the_server_knows_cannot_be_sent(
    client: TestClient, base: str, pictures: list[Image], cat: Category, more: dict[str, Any]
) -> None:
    answer = send(client, base, decision(pictures[0], cat) | more)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")


# ---- history


def test_history_says_who_decided_what_newest_first(
    client: TestClient,
    actions: Actions,
    project: Project,
    base: str,
    pictures: list[Image],
    cat: Category,
    ben: int,
) -> None:
    actions.decide(project.id, [bens(pictures[0], cat)], ben)
    send(client, base, decision(pictures[0], cat, state="unknown", base_seq=1))
    send(client, base, decision(pictures[1], cat, op_id="op-00000002"))
    lines = client.get(f"{base}/images/{pictures[0].id}/history").json()
    assert [(line["user"], line["state"], line["category"]) for line in lines] == [
        ("owner", "unknown", "cat"),
        ("Ben", "positive", "cat"),
    ]
    assert lines[0]["base_seq"] == 1 and lines[1]["base_seq"] is None
    older = client.get(f"{base}/images/{pictures[0].id}/history", params={"before": lines[0]["seq"]})
    assert older.json() == lines[1:]
    narrowed = client.get(f"{base}/images/{pictures[0].id}/history", params={"category": cat.id, "limit": 1})
    assert narrowed.json() == lines[:1]


def test_history_of_a_picture_elsewhere_is_not_found(
    client: TestClient, actions: Actions, pictures: list[Image]
) -> None:
    other = actions.create_project("other").id
    answer = client.get(f"/api/projects/{other}/images/{pictures[0].id}/history")
    assert answer.status_code == 404


# ---- categories


def test_a_late_answer_to_an_archived_category_is_kept_and_comes_back_with_it(
    client: TestClient, base: str, pictures: list[Image], cat: Category
) -> None:
    send(client, base, decision(pictures[0], cat, base_seq=0))
    assert client.post(f"{base}/categories/{cat.id}/archive").status_code == 200
    assert client.get(f"{base}/categories").json() == []
    late = decision(pictures[1], cat, op_id="op-00000002", state="negative", base_seq=0)
    assert send(client, base, late).status_code == 200
    assert [one["name"] for one in client.get(f"{base}/categories/archived").json()] == ["cat"]
    assert client.post(f"{base}/categories/{cat.id}/restore").status_code == 200
    [back] = client.get(f"{base}/categories").json()
    assert (back["id"], back["positive"], back["negative"]) == (cat.id, 1, 1)
    assert cells(client, base, pictures[1]) == [{"category_id": cat.id, "state": "negative", "seq": 2}]
    assert client.get(f"{base}/categories/archived").json() == []


def test_renaming_changes_the_text_and_nothing_else(
    client: TestClient, store: Store, base: str, pictures: list[Image], cat: Category
) -> None:
    send(client, base, decision(pictures[0], cat))
    answer = client.patch(f"{base}/categories/{cat.id}", json={"name": "house cat"})
    assert answer.json()["id"] == cat.id
    [one] = client.get(f"{base}/categories").json()
    assert (one["id"], one["name"], one["positive"]) == (cat.id, "house cat", 1)
    [line] = client.get(f"{base}/images/{pictures[0].id}/history").json()
    assert line["category"] == "house cat"
    client.post(f"{base}/categories/{cat.id}/archive")
    client.post(f"{base}/categories/{cat.id}/archive")  # again changes nothing
    client.post(f"{base}/categories/{cat.id}/restore")
    with store.read() as c:
        noted = [(deed.action, deed.detail["name"]) for deed in deeds.latest(c, 10)]
    words = ("restore_category", "archive_category", "rename_category")
    assert noted == [(word, "house cat") for word in words]


def test_a_taken_name_is_a_409_for_rename_and_restore(client: TestClient, base: str, cat: Category) -> None:
    dog = client.post(f"{base}/categories", json={"name": "dog"}).json()["id"]
    taken = client.patch(f"{base}/categories/{dog}", json={"name": "CAT"})
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "duplicate_category")
    client.post(f"{base}/categories/{cat.id}/archive")
    assert client.patch(f"{base}/categories/{dog}", json={"name": "cat"}).status_code == 200
    back = client.post(f"{base}/categories/{cat.id}/restore")
    assert (back.status_code, back.json()["error"]["code"]) == (409, "duplicate_category")
    assert [one["id"] for one in client.get(f"{base}/categories").json()] == [dog]


def test_the_order_is_set_by_ids_and_a_list_that_changed_meanwhile_is_a_409(
    client: TestClient, base: str, cat: Category
) -> None:
    dog = client.post(f"{base}/categories", json={"name": "dog"}).json()["id"]
    bird = client.post(f"{base}/categories", json={"name": "bird"}).json()["id"]
    sorted_now = client.put(f"{base}/categories/order", json={"ids": [bird, cat.id, dog]})
    assert [one["name"] for one in sorted_now.json()] == ["bird", "cat", "dog"]
    client.post(f"{base}/categories/{cat.id}/archive")
    late = client.put(f"{base}/categories/order", json={"ids": [dog, cat.id, bird]})
    assert (late.status_code, late.json()["error"]["code"]) == (409, "conflict")
    double = client.put(f"{base}/categories/order", json={"ids": [dog, dog]})
    assert double.status_code == 409
    assert [one["id"] for one in client.get(f"{base}/categories").json()] == [bird, dog]


@pytest.mark.parametrize("more", [{"id": 9}, {"position": 0}, {"archived_at": None}, {"project_id": 2}])
def test_a_rename_takes_a_name_alone(
    client: TestClient, base: str, cat: Category, more: dict[str, Any]
) -> None:
    answer = client.patch(f"{base}/categories/{cat.id}", json={"name": "tom"} | more)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")


def test_a_category_of_another_project_is_not_found(
    client: TestClient, actions: Actions, cat: Category
) -> None:
    other = f"/api/projects/{actions.create_project('other').id}/categories/{cat.id}"
    assert client.patch(other, json={"name": "mine"}).status_code == 404
    assert client.post(f"{other}/archive").status_code == 404
    assert client.post(f"{other}/restore").status_code == 404


def test_merging_is_looked_at_first_and_done_once(
    client: TestClient, store: Store, project: Project, base: str, pictures: list[Image], cat: Category
) -> None:
    dog = client.post(f"{base}/categories", json={"name": "dog"}).json()["id"]
    answers = ((0, cat.id, "positive"), (1, cat.id, "negative"), (1, dog, "positive"))
    for place, (picture, key, state) in enumerate(answers):
        one = decision(pictures[picture], cat, op_id=f"op-1000000{place}", state=state, category_id=key)
        assert send(client, base, one).status_code == 200
    path = f"{base}/categories/{cat.id}/merge"
    preview = client.post(path, json={"into": dog, "preview": True})
    assert preview.status_code == 200 and stored(store, project) == 3
    told = preview.json()
    assert (told["done"], told["taken"], told["same"], told["differ"]) == (False, 1, 0, 1)
    assert told["differing"] == [
        {"image_id": pictures[1].id, "name": "p1.jpg", "source": "negative", "target": "positive"}
    ]
    assert told["message"] == (
        '1 answer of "cat" would be taken over by "dog". In 1 picture the two disagree, and "dog" stays '
        "as it is."
    )
    done = client.post(path, json={"into": dog}).json()
    assert (done["done"], done["taken"], stored(store, project)) == (True, 1, 4)
    assert [one["id"] for one in client.get(f"{base}/categories/archived").json()] == [cat.id]
    again = client.post(path, json={"into": dog}).json()
    assert (again["nothing"], again["taken"], stored(store, project)) == (True, 0, 4)
    with store.read() as c:
        [deed] = [one for one in deeds.latest(c, 10) if one.action == "merge_categories"]
    assert deed.detail == {
        "category_id": cat.id, "name": "cat", "into": dog, "into_name": "dog",
        "taken": 1, "same": 0, "differ": 1, "cleared": 0,
    }  # fmt: skip
    late = decision(pictures[2], cat, op_id="op-20000000", base_seq=0)
    assert send(client, base, late).status_code == 200, "from a tab that was open"
    assert client.post(f"{base}/categories/{cat.id}/restore").status_code == 200


def test_what_cannot_be_merged_is_refused(
    client: TestClient, actions: Actions, base: str, cat: Category
) -> None:
    path = f"{base}/categories/{cat.id}/merge"
    other = actions.create_project("other")
    foreign = actions.add_category(other.id, "cat").id
    gone = client.post(f"{base}/categories", json={"name": "gone"}).json()["id"]
    client.post(f"{base}/categories/{gone}/archive")
    for into, status in ((cat.id, 422), (foreign, 404), (999_999, 404), (gone, 409), ("1", 422), (0, 422)):
        assert client.post(path, json={"into": into}).status_code == status, into
        assert client.post(path, json={"into": into, "preview": True}).status_code == status, into
    assert client.post(path, json={"into": gone, "force": True}).status_code == 422
    assert [one["id"] for one in client.get(f"{base}/categories").json()] == [cat.id]


# ---- pictures and projects that go away


def test_a_picture_without_its_file_is_gone_and_its_labels_stay(
    client: TestClient, base: str, pictures: list[Image], cat: Category
) -> None:
    send(client, base, decision(pictures[0], cat, base_seq=0))
    answer = client.get(f"/img/{pictures[0].id}")  # these rows have no files
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "gone")
    assert "p0.jpg" in answer.json()["error"]["message"]
    late = decision(pictures[0], cat, op_id="op-00000002", state="negative", base_seq=1)
    assert send(client, base, late).status_code == 200
    assert cells(client, base, pictures[0])[0]["state"] == "negative"


def test_an_answer_to_a_project_that_was_archived_is_refused_with_410_and_taken_after_it_is_back(
    client: TestClient, store: Store, project: Project, base: str, pictures: list[Image], cat: Category
) -> None:
    assert client.post(f"{base}/archive", json={"name": "holiday"}).status_code == 200
    late = decision(pictures[0], cat, base_seq=0)
    assert send(client, base, late).status_code == 410
    assert stored(store, project) == 0
    assert client.post(f"{base}/restore").status_code == 200
    assert send(client, base, late).status_code == 200


def test_every_answer_about_a_category_gives_its_true_counts(
    client: TestClient, base: str, pictures: list[Image], cat: Category
) -> None:
    counts = {"positive": 1, "negative": 1, "unsure": 0}
    send(
        client,
        base,
        decision(pictures[0], cat),
        decision(pictures[1], cat, op_id="op-00000002", state="negative"),
    )
    one = f"{base}/categories/{cat.id}"
    told = [
        client.patch(one, json={"name": "tom cat"}).json(),
        client.put(f"{base}/categories/order", json={"ids": [cat.id]}).json()[0],
        client.post(f"{one}/archive").json(),
        client.get(f"{base}/categories/archived").json()[0],
        client.post(f"{one}/restore").json(),
        client.get(f"{base}/categories").json()[0],
    ]
    assert [found | counts for found in told] == told
