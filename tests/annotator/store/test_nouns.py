"""Projects, categories, images, generations, users, sessions, workers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy.exc import IntegrityError

from annotator.errors import BadInput, DuplicateCategory, NotFound, StoreError
from annotator.records import GenerationStatus, Image, ImageState, Project
from annotator.store import (
    Store,
    categories,
    generations,
    images,
    projects,
    sessions,
    snapshots,
    users,
    workers,
)
from tests.conftest import new_image


def test_project_names_are_tidied_and_unique(store: Store) -> None:
    made = store.write(lambda c: projects.create(c, "  Cafe\u0301 ", now=5))
    assert (made.name, made.created_at) == ("Caf\u00e9", 5)
    with store.read() as c:
        assert projects.by_name(c, "Cafe\u0301") == made
        assert projects.by_name(c, "tea") is None
        assert projects.list_all(c) == [made]
    with pytest.raises(BadInput, match='already a project named "Café"'):
        store.write(lambda c: projects.create(c, "Café", now=6))


@pytest.mark.parametrize("bad", [0, -1, 99, 2**63, 10**40])
def test_an_id_that_is_not_there_is_not_found_whatever_its_size(store: Store, bad: int) -> None:
    with store.read() as c:
        for find in (projects.get, categories.get, images.get, snapshots.get, generations.get):
            with pytest.raises(NotFound, match=f"There is no .* {bad}"):
                find(c, bad)
        with pytest.raises(NotFound):
            images.many(c, [bad])
        with pytest.raises(NotFound):
            categories.list_active(c, bad)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("x" * 201, "at most 200"),
        ("a\nb", "U\\+000A"),
        ("\ud800", "U\\+D800"),
    ],
)
def test_category_names_that_cannot_be_used(store: Store, project: Project, name: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        store.write(lambda c: categories.add(c, project.id, name, now=1))


@pytest.mark.parametrize("name", ["=SUM(A1)", "+1", "-", "@home", "chat 猫", "x" * 200, "</script>"])
def test_category_names_are_plain_text(store: Store, project: Project, name: str) -> None:
    assert store.write(lambda c: categories.add(c, project.id, name, now=1)).name == name


def test_categories_are_unique_while_active_whatever_the_case(store: Store, project: Project) -> None:
    dog = store.write(lambda c: categories.add(c, project.id, " Dog", now=1))
    with pytest.raises(DuplicateCategory, match='already a category "Dog"'):
        store.write(lambda c: categories.add(c, project.id, "DOG", now=1))
    store.write(lambda c: categories.archive(c, dog.id, now=7))
    again = store.write(lambda c: categories.add(c, project.id, "dog", now=8))
    assert again.id != dog.id
    with store.read() as c:
        assert categories.list_active(c, project.id) == [again]
        assert categories.get(c, dog.id).archived_at == 7


def test_the_same_category_name_may_be_in_two_projects(store: Store, project: Project) -> None:
    other = store.write(lambda c: projects.create(c, "other", now=1))
    one = store.write(lambda c: categories.add(c, project.id, "dog", now=1))
    two = store.write(lambda c: categories.add(c, other.id, "dog", now=1))
    assert one.id != two.id


def test_renaming_keeps_the_id_and_refuses_a_taken_name(store: Store, project: Project) -> None:
    dog, cat = store.write(lambda c: categories.ensure(c, project.id, ["dog", "cat"], now=1)[0])
    assert store.write(lambda c: categories.rename(c, dog.id, "DOG")).name == "DOG"
    with pytest.raises(DuplicateCategory):
        store.write(lambda c: categories.rename(c, cat.id, "dog"))


def test_ensure_adds_only_what_is_missing_and_answers_in_order(store: Store, project: Project) -> None:
    store.write(lambda c: categories.add(c, project.id, "cat", now=1))
    found, added = store.write(lambda c: categories.ensure(c, project.id, ["dog", "CAT", "bird"], now=2))
    assert [category.name for category in found] == ["dog", "cat", "bird"]
    assert added == 2
    assert store.write(lambda c: categories.ensure(c, project.id, ["bird"], now=2)) == ([found[2]], 0)
    with store.read() as c:
        assert [category.position for category in categories.list_active(c, project.id)] == [0, 1, 2]


def test_the_same_bytes_are_one_image(store: Store, project: Project) -> None:
    new = new_image("a.jpg", "1" * 64)
    first = store.write(lambda c: images.add(c, project.id, new, now=1))
    second = store.write(lambda c: images.add(c, project.id, new_image("b.jpg", "1" * 64), now=2))
    assert first[1] and not second[1]
    assert first[0] == second[0]
    with store.read() as c:
        assert images.has_sha(c, project.id, "1" * 64)
        assert not images.has_sha(c, project.id, "2" * 64)


@pytest.mark.parametrize(
    ("name", "second", "third"),
    [
        ("a.jpg", "a (2).jpg", "a (3).jpg"),
        ("x.y/a", "x.y/a (2)", "x.y/a (3)"),
        (".hid", ".hid (2)", ".hid (3)"),
        ("t.tar.gz", "t.tar (2).gz", "t.tar (3).gz"),
    ],
)
def test_the_same_name_with_other_bytes_gets_a_number(
    store: Store, project: Project, name: str, second: str, third: str
) -> None:
    names = [
        store.write(lambda c, n=n: images.add(c, project.id, new_image(name, str(n) * 64), now=1))[0].name
        for n in range(3)
    ]
    assert names == [name, second, third]


def test_images_are_paged_counted_and_found_by_name(
    store: Store, project: Project, add_images: Callable[..., list[Image]]
) -> None:
    made = add_images(project, 7)
    other = store.write(lambda c: projects.create(c, "other", now=1))
    add_images(other, 2)
    with store.read() as c:
        assert images.page(c, project.id, limit=3) == made[:3]
        assert images.page(c, project.id, after=made[2].id) == made[3:]
        assert images.ids(c, project.id) == [image.id for image in made]
        assert images.count(c, project.id) == 7
        assert images.many(c, [made[4].id, made[1].id]) == [made[4], made[1]]
        assert images.by_name(c, project.id, "p3.jpg") == made[3]
        assert images.by_name(c, project.id, "nope") is None
        assert images.name_map(c, project.id)["p6.jpg"] == made[6].id
        kept = images.shas(c, project.id)[made[0].sha256]
        assert kept == ("p0.jpg", made[0].original, made[0].canonical, ImageState.READY)


def test_the_state_of_an_image_can_change(
    store: Store, project: Project, add_images: Callable[..., list[Image]]
) -> None:
    image = add_images(project, 1)[0]
    assert image.state is ImageState.READY
    store.write(lambda c: images.set_state(c, image.id, ImageState.MISSING))
    with store.read() as c:
        assert images.get(c, image.id).state is ImageState.MISSING


def publish(store: Store, project: Project) -> int:
    def work(c: object) -> int:
        snapshot = snapshots.freeze(c, project.id, now=1)  # type: ignore[arg-type]
        return generations.publish(
            c,  # type: ignore[arg-type]
            project_id=project.id,
            snapshot_id=snapshot.id,
            generation_id=generations.reserve(c),  # type: ignore[arg-type]
            backbone="tiny",
            folder="projects/1/generations/000001",
            manifest_sha256="0" * 64,
            metrics={"map": 0.5, "none": None},
            now=2,
        ).id

    return store.write(work)


def test_publishing_retires_the_generation_before(store: Store, project: Project) -> None:
    first, second = publish(store, project), publish(store, project)
    with store.read() as c:
        current = generations.current(c, project.id)
        assert current is not None
        assert (current.id, current.metrics) == (second, {"map": 0.5, "none": None})
        assert generations.get(c, first).status is GenerationStatus.RETIRED
        assert [g.id for g in generations.history(c, project.id)] == [second, first]
        other = generations.current(c, 99)
        assert other is None


def test_generation_ids_are_never_given_out_twice(store: Store, project: Project) -> None:
    def reserved_but_never_published() -> int:
        return store.write(generations.reserve)

    ids = [reserved_but_never_published(), publish(store, project), reserved_but_never_published()]
    assert ids == [1, 2, 3]


def test_a_generation_needs_a_snapshot_of_its_project(store: Store, project: Project) -> None:
    other = store.write(lambda c: projects.create(c, "other", now=1))
    foreign = store.write(lambda c: snapshots.freeze(c, other.id, now=1))

    def work(c: object) -> None:
        generations.publish(
            c,  # type: ignore[arg-type]
            project_id=project.id,
            snapshot_id=foreign.id,
            generation_id=1,
            backbone="tiny",
            folder="x",
            manifest_sha256="",
            metrics={},
            now=1,
        )

    with pytest.raises(NotFound, match="has no snapshot"):
        store.write(work)


def test_two_current_generations_are_impossible(store: Store, project: Project) -> None:
    publish(store, project)
    publish(store, project)
    with pytest.raises((StoreError, IntegrityError), match="UNIQUE"):
        store.write(lambda c: c.exec_driver_sql("UPDATE generation SET status = 'current'").rowcount)


def test_there_is_one_owner_with_one_password(store: Store) -> None:
    owner = store.write(lambda c: users.owner(c, now=1))
    assert store.write(lambda c: users.owner(c, now=2)) == owner
    with store.read() as c:
        assert users.get_password(c, owner) is None
        assert users.names(c) == {owner: "owner"}
    store.write(lambda c: users.set_password(c, owner, "$argon2$x"))
    with store.read() as c:
        assert users.get_password(c, owner) == "$argon2$x"
        with pytest.raises(NotFound, match="no user 99"):
            users.get_password(c, 99)
    with pytest.raises(NotFound, match="no user 99"):
        store.write(lambda c: users.set_password(c, 99, "x"))


def test_sessions_end_by_time_and_by_signing_out(store: Store, user_id: int) -> None:
    token = store.write(lambda c: sessions.create(c, user_id, ttl_ms=100, now=1_000))
    other = store.write(lambda c: sessions.create(c, user_id, ttl_ms=900, now=1_000))
    with store.read() as c:
        assert sessions.find(c, token, now=1_099) == user_id
        assert sessions.find(c, token, now=1_100) is None
        assert sessions.find(c, "guess", now=1_001) is None
        stored = " ".join(c.exec_driver_sql("SELECT token_sha256 FROM session").scalars())
        assert token not in stored
    store.write(lambda c: sessions.create(c, user_id, ttl_ms=1, now=1_500))
    with store.read() as c:
        assert c.exec_driver_sql("SELECT count(*) FROM session").scalar_one() == 2
    store.write(lambda c: sessions.delete(c, other))
    with store.read() as c:
        assert sessions.find(c, other, now=1_001) is None
    last = store.write(lambda c: sessions.create(c, user_id, ttl_ms=100, now=1_500))
    store.write(lambda c: sessions.delete_all(c, user_id))
    with store.read() as c:
        assert sessions.find(c, last, now=1_501) is None


def test_the_latest_worker_is_the_one_seen_last(store: Store) -> None:
    with store.read() as c:
        assert workers.latest(c, now=0) is None
    store.write(lambda c: workers.beat(c, "a", doing="idle", now=1))
    store.write(lambda c: workers.beat(c, "b", doing="training", now=2))
    store.write(lambda c: workers.beat(c, "a", doing="features", now=3))
    with store.read() as c:
        assert workers.latest(c, now=3) == ("a", 3, "features")


def test_a_sign_of_life_from_the_future_hides_no_worker_of_now(store: Store) -> None:
    store.write(lambda c: workers.beat(c, "dead", doing="training", now=10**9))
    store.write(lambda c: workers.beat(c, "alive", doing="idle", now=5_000))
    with store.read() as c:
        assert workers.latest(c, now=6_000) == ("alive", 5_000, "idle")
        assert workers.latest(c, now=5_000 - workers.AHEAD_MS) == ("alive", 5_000, "idle")
        assert workers.latest(c, now=10**9) == ("dead", 10**9, "training"), "the clock was right after all"
