"""Old generations go, after a while and never the current one; a killed worker's leftovers go at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from annotator.records import Generation, GenerationStatus, Image, Project
from annotator.settings import Settings
from annotator.store import Store, categories, generations, now_ms, projects
from annotator.suggesting import Suggester
from annotator.worker.keeping import GRACE_MS, Keeper, sweep
from tests.annotator.generation_builder import Built, build, decide


@pytest.fixture
def labelled(project: Project, store: Store, add_images: Callable[..., list[Image]]) -> Project:
    pictures = add_images(project, 6)
    made = store.write(lambda c: categories.add(c, project.id, "cat", now=now_ms()))
    decide(store, project, [(image.id, made.id, 1 - 2 * (n % 2)) for n, image in enumerate(pictures[:4])])
    return project


def made(store: Store, project: Project, count: int) -> list[Built]:
    return [build(store, project, seed=number) for number in range(count)]


def keeper(store: Store, settings: Settings, keep: int) -> Keeper:
    return Keeper(store, settings.model_copy(update={"keep_generations": keep}))


def on_disk(built: list[Built]) -> list[int]:
    return [one.record.id for one in built if one.folder.exists()]


def test_the_oldest_go_after_a_grace_and_their_rows_say_so(
    store: Store, settings: Settings, labelled: Project
) -> None:
    built = made(store, labelled, 5)
    ids = [one.record.id for one in built]
    keep = keeper(store, settings, 3)
    assert keep.prune(labelled.id, 1000) == []
    assert keep.prune(labelled.id, 1000 + GRACE_MS - 1) == [], "a page may still read them"
    assert on_disk(built) == ids
    assert sorted(keep.prune(labelled.id, 1000 + GRACE_MS)) == ids[:2]
    assert on_disk(built) == ids[2:]
    with store.read() as c:
        gone = [
            one.id for one in generations.history(c, labelled.id) if one.status is GenerationStatus.REMOVED
        ]
    assert sorted(gone) == ids[:2]
    assert keep.prune(labelled.id, 1001 + 2 * GRACE_MS) == []


def test_the_current_one_stays_however_old_it_is(store: Store, settings: Settings, labelled: Project) -> None:
    built = made(store, labelled, 4)
    oldest = built[0].record.id
    store.write(lambda c: generations.switch(c, labelled.id, oldest))
    keep = keeper(store, settings, 2)
    keep.prune(labelled.id, 0)
    keep.prune(labelled.id, GRACE_MS)
    assert on_disk(built) == [oldest, built[3].record.id]
    only = keeper(store, settings, 1)
    only.prune(labelled.id, 0)
    only.prune(labelled.id, GRACE_MS)
    assert on_disk(built) == [oldest]


def test_rejected_ones_do_not_push_out_the_one_that_steps_in_for_a_damaged_one(
    store: Store, settings: Settings, labelled: Project
) -> None:
    """Of those that served before the newest stays, however many candidates the gate has rejected since."""
    built = made(store, labelled, 6)
    ids = [one.record.id for one in built]
    sql = "UPDATE generation SET status = ? WHERE id = ?"
    store.write(lambda c: c.exec_driver_sql("UPDATE generation SET status = 'retired'"))
    for number, status in ((ids[2], "current"), *((number, "rejected") for number in ids[3:])):
        store.write(lambda c, row=(status, number): c.exec_driver_sql(sql, row))
    keep = keeper(store, settings, 3)
    keep.prune(labelled.id, 0)
    assert sorted(keep.prune(labelled.id, GRACE_MS)) == [ids[0], ids[3], ids[4]]
    assert on_disk(built) == [ids[1], ids[2], ids[5]]


def test_one_that_became_current_meanwhile_is_not_removed(
    store: Store, settings: Settings, labelled: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = made(store, labelled, 2)
    first = built[0].record.id
    keep = keeper(store, settings, 1)
    keep.prune(labelled.id, 0)
    real = generations.history

    def history_then_switch(c: object, project_id: int) -> list[Generation]:
        known = real(c, project_id)  # type: ignore[arg-type]
        store.write(lambda w: generations.switch(w, project_id, first))
        return known

    monkeypatch.setattr(generations, "history", history_then_switch)
    assert keep.prune(labelled.id, GRACE_MS) == []
    assert on_disk(built) == [first, built[1].record.id]


def test_whoever_reads_a_generation_that_is_removed_goes_on_reading(
    store: Store, settings: Settings, labelled: Project
) -> None:
    built = made(store, labelled, 1)
    suggester = Suggester(store, settings)
    with store.read() as c:
        loaded, _ = suggester.generation(c, labelled.id)
    assert loaded is not None
    before = np.array(loaded.logits())
    made(store, labelled, 1)
    keep = keeper(store, settings, 1)
    keep.prune(labelled.id, 0)
    assert keep.prune(labelled.id, GRACE_MS) == [built[0].record.id]
    assert np.array_equal(np.array(loaded.logits()), before), "it is mapped; only its name is gone"


def test_a_start_removes_what_a_killed_worker_left_and_nothing_else(store: Store, labelled: Project) -> None:
    (kept,) = made(store, labelled, 1)
    home = kept.folder.parent
    half, unpublished = home / ".000007.abc.tmp", home / "000008"
    for folder in (half, unpublished):
        folder.mkdir()
        (folder / "logits.npy").write_bytes(b"x")
    part, own = home.parent / "training.safetensors.part", home / "my notes"
    part.write_bytes(b"x")
    own.mkdir()
    (home.parent / "training.safetensors").write_bytes(b"checkpoint of a run that goes on")
    removed = sweep(store)
    root = f"projects/{labelled.id}"
    assert removed == [
        f"{root}/generations/.000007.abc.tmp",
        f"{root}/generations/000008",
        f"{root}/training.safetensors.part",
    ]
    assert not any(path.exists() for path in (half, unpublished, part))
    assert kept.folder.exists() and own.exists() and (home.parent / "training.safetensors").exists()
    assert sweep(store) == []


def test_a_start_keeps_the_generations_of_archived_projects(store: Store, labelled: Project) -> None:
    (kept,) = made(store, labelled, 1)
    store.write(lambda c: projects.set_archived(c, labelled.id, 5))
    assert sweep(store) == []
    assert kept.folder.exists()


def test_a_data_folder_without_projects_has_nothing_to_sweep(store: Store, tmp_path: Path) -> None:
    assert sweep(store) == []
