"""A-47: an archived project is removed for good, all of it and nothing else, however often interrupted."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotator.actions import Actions
from annotator.errors import BadInput, Conflict, DiskFull, Gone, NotAllowed, NotFound, StoreError
from annotator.failpoints import VARIABLE, Failed
from annotator.importing import shelf
from annotator.keeping import purge
from annotator.keeping import scan as scanning
from annotator.keeping.backup import back_up
from annotator.keeping.doctor import Level, doctor
from annotator.keeping.restore import verify
from annotator.people import Role
from annotator.records import CellState, ImageState, NewDecision
from annotator.settings import Settings
from annotator.store import Store, checks, deeds, jobs, members, now_ms, projects, purging, users
from tests.annotator.keeping.world import World, content, files

DAY = 24 * 3600 * 1000
POINTS = (
    "purge_before_rows",
    "purge_after_rows",
    "purge_between_files",
    "purge_before_folder",
    "purge_before_end",
    "purge_after_end",
)
TABLES = ("image", "category", "decision", "generation", "snapshot", "job", "membership", "invitation")


def silent(_done: int, _total: int | None, _what: str) -> None: ...


def by(world: World) -> int:
    return world.actions.accounts.machine()


def archived(world: World, name: str = "birds", days: float = 31) -> int:
    """Put a project away, so many days ago; its id."""
    found = next(one for one in world.actions.projects() if one.name == name)
    world.actions.membership.archive(by(world), found.id, name)
    world.store.write(lambda c: projects.set_archived(c, found.id, now_ms() - int(days * DAY)))
    return found.id


def remove(world: World, project_id: int, typed: str = "birds") -> purge.Purged:
    return world.actions.removing.purge(by(world), project_id, typed, silent)


def rows(world: World, project_id: int) -> dict[str, int]:
    with world.store.read() as c:
        return {
            table: c.exec_driver_sql(
                f"SELECT count(*) FROM {table} WHERE project_id = ?", (project_id,)
            ).scalar_one()
            for table in TABLES
        }


def sound(world: World) -> None:
    """The doctor finds nothing wrong, file by file."""
    left = [
        found.words
        for found in doctor(world.settings, deep=True, repair=False, accept_missing=False, on_progress=silent)
        if found.level is Level.PROBLEM and found.check != "permissions"
    ]
    assert left == []


def aged(world: World) -> None:
    """So that the doctor does not take orphans for files of an import that goes on now."""
    for root in ("originals", "canonical", "thumbnails"):
        for path in (world.data_dir / root).rglob("*"):
            os.utime(path, (1, 1))


def other_project(world: World) -> dict[str, Any]:
    """Everything of the second project: its rows and the files that it names."""
    other = next(one for one in world.actions.projects() if one.name == "other")
    found = content(world.data_dir)["rows"]
    mine = {name: [row for row in found[name] if row[1] == other.id] for name in ("image", "category")}
    named = {str(cell) for row in mine["image"] for cell in row if "/" in str(cell)}
    return {"rows": mine, "files": {n: d for n, d in files(world.data_dir).items() if n in named}}


def test_everything_of_the_project_goes_and_nothing_of_another(world: World) -> None:
    aged(world)
    before = other_project(world)
    assert len(before["files"]) == 1, "the picture that both projects have"
    project_id = archived(world)
    told = remove(world, project_id)
    assert (told.name, told.pictures, told.answers, told.shared) == ("birds", 5, 9, 1)
    assert set(rows(world, project_id).values()) == {0}
    assert other_project(world) == before
    left = set(files(world.data_dir))
    shared = next(iter(before["files"]))
    digest = Path(shared).stem
    assert left == {shared, shelf.thumbnail(digest)}, "its files and those of no other"
    assert not (world.data_dir / "projects" / str(project_id)).exists()
    assert list(world.data_dir.glob("purging-*")) == []
    assert [one.name for one in world.actions.projects(archived=True)] == ["other"]
    with pytest.raises(NotFound):
        remove(world, project_id)
    sound(world)
    assert world.actions.create_project("birds").id > project_id, "the name is free, the number is not"


def test_the_deeds_stay_and_say_who_removed_what(world: World) -> None:
    project_id = archived(world)
    remove(world, project_id)
    with world.store.read() as c:
        found = [one for one in deeds.latest(c, 50) if one.detail.get("project") == project_id]
    assert [one.action for one in found] == ["purged", "purge", "archive"]
    assert {one.user_id for one in found} == {by(world)} and {one.project_id for one in found} == {None}
    assert found[0].detail == {"project": project_id, "name": "birds", "pictures": 5, "answers": 9}


def test_only_an_administrator_who_types_the_name_removes_and_only_after_thirty_days(world: World) -> None:
    birds = world.project.id
    with pytest.raises(Conflict, match="archive it first"):
        remove(world, birds)
    before = content(world.data_dir)
    archived(world, days=29.5)
    with pytest.raises(Conflict, match="can be restored for 1 more day;"):
        remove(world, birds)
    world.actions.membership.restore(by(world), birds)
    assert content(world.data_dir)["rows"]["decision"] == before["rows"]["decision"]
    archived(world)
    for typed in ("", "Birds", "birds ", "other"):
        with pytest.raises(BadInput, match="type the name"):
            remove(world, birds, typed)
    eve = world.store.write(lambda c: users.create(c, "Eve", None, now=1)).id
    world.store.write(lambda c: members.put(c, birds, eve, Role.ADMIN, now=1))
    with pytest.raises(NotAllowed):
        world.actions.removing.purge(eve, birds, "birds", silent)
    with pytest.raises(NotAllowed):
        world.actions.removing.leaving(eve)
    assert rows(world, birds)["image"] == 5, "nothing was removed"


def test_a_training_that_has_not_ended_is_waited_for(world: World) -> None:
    world.actions.retrain(world.project.id)
    job = world.store.write(lambda c: jobs.claim(c, owner="w", lease_ms=10**6, now=now_ms()))
    assert job is not None
    project_id = archived(world)
    with pytest.raises(Conflict, match="training"):
        remove(world, project_id)
    world.store.write(lambda c: jobs.release(c, "w"))
    remove(world, project_id)


def test_from_the_first_moment_on_nobody_finds_it_and_nothing_brings_it_back(world: World) -> None:
    project_id = archived(world)
    world.actions.removing.begin(by(world), project_id, "birds")
    assert [one.name for one in world.actions.projects(archived=True)] == ["other"]
    assert [(one.project.name, one.begun) for one in world.actions.removing.leaving(by(world))] == [
        ("birds", True)
    ]
    new = NewDecision(
        op_id="late", image_id=world.ids[0], category_id=world.categories[0], state=CellState.POSITIVE
    )
    refused: tuple[Callable[[], object], ...] = (
        lambda: world.actions.membership.restore(by(world), project_id),
        lambda: world.actions.export_csv(project_id, world.data_dir / "x.csv"),
        lambda: world.actions.decide(project_id, [new]),
        lambda: world.actions.import_files(project_id, []),
        lambda: world.actions.membership.members(by(world), project_id),
        lambda: world.actions.add_category(project_id, "late"),
    )
    for attempt in refused:
        with pytest.raises(Gone, match="removed for good"):
            attempt()
    with pytest.raises(BadInput, match='archived project named "birds"'):
        world.actions.create_project("birds")
    with pytest.raises(BadInput, match="type the name"):
        remove(world, project_id, "bird")
    assert remove(world, project_id).pictures == 5


@pytest.mark.parametrize("point", POINTS)
def test_an_interrupted_removal_is_finished_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr(purge, "PICTURES", 2)
    aged(world)
    before = other_project(world)
    project_id = archived(world)
    monkeypatch.setenv(VARIABLE, f"{point}:raise")
    with pytest.raises(Failed):
        remove(world, project_id)
    with world.store.read() as c:
        assert (checks.wrong_labels(c), checks.wrong_counts(c)) == (0, 0), "at every moment"
    assert [one.name for one in world.actions.projects(archived=True)] == ["other"], "never back half"
    made = back_up(world.data_dir, world.data_dir.parent / "half.tar")
    assert verify(made.target) and made.remarks == {}, "what is left has its files"
    monkeypatch.delenv(VARIABLE)
    if point == "purge_after_end":
        purge.sweep(world.store)
    else:
        remove(world, project_id)
    assert set(rows(world, project_id).values()) == {0} and other_project(world) == before
    assert len(files(world.data_dir)) == 2
    assert list(world.data_dir.glob("purging-*")) == []
    assert not (world.data_dir / "projects" / str(project_id)).exists()
    sound(world)


def test_a_list_cut_short_or_written_over_removes_nothing_else(world: World, tmp_path: Path) -> None:
    project_id = archived(world)
    world.actions.removing.begin(by(world), project_id, "birds")
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(b"mine")
    kept = next(iter(other_project(world)["files"]))
    lines = ["../outside.jpg", str(outside), "annotator.db", "originals", "originals/..", kept, kept[:40]]
    (world.data_dir / f"purging-{project_id}.txt").write_text("\n".join(lines))
    remove(world, project_id)
    assert outside.exists() and (world.data_dir / kept).exists()
    sound(world)


def test_pictures_are_never_removed_from_under_an_import(world: World) -> None:
    project_id = archived(world)
    with shelf.Shelf(world.data_dir):
        world.actions.removing.begin(by(world), project_id, "birds")
        with pytest.raises(Conflict, match="being imported"):
            purge.finish(world.store, project_id, wait_s=0)
        assert rows(world, project_id)["image"] == 5
    assert purge.finish(world.store, project_id, wait_s=0).pictures == 5


def test_an_import_that_waits_for_a_removal_gets_its_turn_before_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = archived(world)
    world.actions.removing.begin(by(world), project_id, "birds")
    monkeypatch.setattr(purge, "PICTURES", 1)
    left: list[int] = []

    def take_in() -> None:
        with shelf.Shelf(world.data_dir):
            left.append(rows(world, project_id)["image"])

    importing = threading.Thread(target=take_in)

    def point(name: str) -> None:
        if name == "purge_after_rows" and importing.ident is None:
            importing.start()  # while the removal has the pictures to itself

    monkeypatch.setattr(purge, "failpoint", point)
    purge.finish(world.store, project_id)
    importing.join()
    assert left and 0 < left[0] < 5


def test_two_removals_at_once_do_not_meet(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = archived(world)
    world.actions.removing.begin(by(world), project_id, "birds")
    second: list[str] = []

    def meanwhile(*_: object) -> None:
        with pytest.raises(Conflict) as met:
            purge.finish(world.store, project_id)
        second.append(str(met.value))

    purge.finish(world.store, project_id, on_progress=meanwhile)
    assert second and set(second) == {"This project is being removed at this moment."}


def test_a_disk_that_refuses_is_one_sentence_and_the_next_run_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = archived(world)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(purge.shutil, "rmtree", refuse)
    with pytest.raises(StoreError, match=r"cannot be removed \(Permission denied\)") as met:
        remove(world, project_id)
    assert str(world.data_dir) not in str(met.value)
    monkeypatch.undo()
    assert remove(world, project_id).name == "birds"


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = archived(world)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(purge.os, "fsync", full)
    with pytest.raises(DiskFull, match="The project could not be removed: the disk is full"):
        remove(world, project_id)
    monkeypatch.undo()
    assert rows(world, project_id)["image"] == 5, "rows go only when their files are on the list for good"
    assert remove(world, project_id).pictures == 5


def test_a_worker_finishes_what_was_begun_and_begins_only_where_the_settings_say_so(world: World) -> None:
    birds = archived(world)
    assert purge.due(world.store, world.settings) == [] and rows(world, birds)["image"] == 5
    other = archived(world, "other", days=29)
    world.actions.removing.begin(by(world), birds, "birds")
    assert [one.name for one in purge.due(world.store, world.settings)] == ["birds"]
    by_itself = world.settings.model_copy(update={"purge_by_itself": True})
    assert purge.due(world.store, by_itself) == [], "it can be restored for one more day"
    world.store.write(lambda c: projects.set_archived(c, other, now_ms() - 30 * DAY))
    assert [one.name for one in purge.due(world.store, by_itself)] == ["other"]
    with world.store.read() as c:
        last = deeds.latest(c, 1)[0]
    assert (last.action, last.user_id) == ("purged", None), "the program itself"
    assert files(world.data_dir) == {}
    sound(world)


def test_time_to_keep_is_a_setting(open_store: Callable[[Settings], Store], settings: Settings) -> None:
    chosen = settings.model_copy(update={"purge_days": 0.0})
    store = open_store(chosen)
    actions = Actions(store, chosen)
    owner = store.write(lambda c: users.owner(c, now=1))
    made = actions.create_project("short")
    actions.membership.archive(owner, made.id, "short")
    assert actions.removing.purge(owner, made.id, "short", silent).pictures == 0


def test_many_categories_go_in_portions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = archived(world, "other")
    world.store.write(lambda c: projects.set_archived(c, project_id, None))
    for number in range(7):
        world.actions.add_category(project_id, f"c{number}")
    archived(world, "other")
    monkeypatch.setattr(purging, "_CATEGORIES_S", 0)
    portions: list[str] = []
    world.actions.removing.purge(
        by(world), project_id, "other", lambda _done, _total, what: portions.append(what)
    )
    assert portions.count("categories") == 6, "one in each transaction"
    assert set(rows(world, project_id).values()) == {0}


def test_a_list_that_comes_while_ended_ones_are_swept_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id, real = archived(world), purging.unfinished
    path = world.data_dir / f"purging-{project_id}.txt"

    def then_one_begins(c: Any) -> Any:
        found = real(c)
        monkeypatch.setattr(purging, "unfinished", real)
        world.actions.removing.begin(by(world), project_id, "birds")
        path.touch()
        return found

    monkeypatch.setattr(purging, "unfinished", then_one_begins)
    purge.sweep(world.store)
    assert path.exists(), "a kill would leave files of which nothing tells any more"
    purge.sweep(world.store)
    assert path.exists()
    remove(world, project_id)
    path.touch()
    purge.sweep(world.store)
    assert not path.exists()


def test_a_project_whose_files_the_disk_refuses_does_not_hold_up_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    birds, other = archived(world), archived(world, "other")
    for project_id, name in ((birds, "birds"), (other, "other")):
        world.actions.removing.begin(by(world), project_id, name)
    (world.data_dir / "projects" / str(other)).mkdir(parents=True)
    real = purge.shutil.rmtree

    def refuse(path: Path) -> None:
        if path.name == str(birds):
            raise PermissionError(13, "Permission denied", str(path))
        real(path)

    monkeypatch.setattr(purge.shutil, "rmtree", refuse)
    with pytest.raises(StoreError, match="Permission denied"):
        purge.due(world.store, world.settings)
    assert set(rows(world, other).values()) == {0}
    monkeypatch.undo()
    assert [one.name for one in purge.due(world.store, world.settings)] == ["birds"]


def test_a_removal_beside_a_scan_is_no_missing_disk(world: World) -> None:
    project_id = archived(world)
    lost = next(iter(other_project(world)["files"]))

    def meanwhile(done: int, _total: int | None, _what: str) -> None:
        if done == 1:
            remove(world, project_id)
            (world.data_dir / lost).unlink()

    seen = scanning.look(world.store, deep=True, on_progress=meanwhile)
    (state,) = seen.states
    (image,) = seen.no_original
    assert (state, seen.states[state]) == (ImageState.MISSING, [image.id]) and image.original == lost
