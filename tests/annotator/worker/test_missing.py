"""R-29 in the worker: a lost picture is marked, a lost disk is not believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from annotator import missing
from annotator.records import Image, ImageState, JobStatus
from annotator.store import images
from annotator.worker.loop import Worker
from annotator.worker.tasks import Tasks
from tests.annotator.worker.drawn import Scenes
from tests.annotator.worker.driving import ANSWERED, drain, last, retrain
from tests.faults.claims import Claims


def pictures(scenes: Scenes) -> list[Image]:
    with scenes.store.read() as c:
        return images.page(c, scenes.project.id)


def states(scenes: Scenes) -> set[ImageState]:
    return {image.state for image in pictures(scenes)}


def take_away(scenes: Scenes, count: int) -> None:
    for image in pictures(scenes)[:count]:
        (scenes.settings.data_dir / image.canonical).unlink()


def test_a_disk_that_is_not_mounted_fails_the_job_and_marks_nothing(
    scenes: Scenes, worker: Worker, tmp_path: Path, claim: Claims
) -> None:
    made = claim(
        "R-29",
        "A training on a data folder whose pictures are on a disk that is not mounted marks none missing, "
        "fails in words, and works when the disk is back.",
        unit="pictures",
    )
    shelf = scenes.settings.data_dir / "originals"
    shelf.rename(tmp_path / "unmounted")
    scenes.answer(ANSWERED)
    retrain(scenes)
    drain(worker)
    for kind in ("features", "retrain"):
        job = last(scenes, kind)
        assert job.status is JobStatus.FAILED, job.message
        assert job.message.startswith("40 of 40 pictures are missing from the data folder, which looks like")
        assert "--accept-missing" in job.message and str(scenes.settings.data_dir) not in job.message
    assert states(scenes) == {ImageState.READY}
    (tmp_path / "unmounted").rename(shelf)
    retrain(scenes)
    drain(worker)
    assert last(scenes).status is JobStatus.DONE, last(scenes).message
    made.done(len(pictures(scenes)))


@pytest.mark.parametrize(("gone", "believed"), [(1, True), (2, False)])
def test_one_lost_picture_is_marked_and_two_of_forty_are_asked_about(
    scenes: Scenes, worker: Worker, gone: int, believed: bool
) -> None:
    take_away(scenes, gone)
    drain(worker)
    assert (last(scenes, "features").status is JobStatus.DONE) is believed
    assert (ImageState.MISSING in states(scenes)) is believed


def test_a_picture_that_cannot_be_decoded_is_no_sign_of_a_missing_disk(
    scenes: Scenes, worker: Worker
) -> None:
    for image in pictures(scenes)[:20]:
        (scenes.settings.data_dir / image.canonical).write_bytes(b"no picture")
    drain(worker)
    job = last(scenes, "features")
    assert job.status is JobStatus.DONE and "20 cannot be decoded" in job.message
    assert states(scenes) == {ImageState.READY, ImageState.REFUSED}


def test_the_rule_is_one_in_a_hundred_and_at_most_a_hundred() -> None:
    assert not missing.too_many(100, 10_000) and missing.too_many(101, 100_000)
    assert not missing.too_many(10, 1_000) and missing.too_many(11, 1_000)


def test_a_disk_that_comes_back_in_the_middle_leaves_its_pictures_ready(
    scenes: Scenes, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, mark = scenes.settings.data_dir / "originals", Tasks._mark
    shelf.rename(tmp_path / "unmounted")

    def mounted(*given: Any) -> None:
        if not shelf.exists():
            (tmp_path / "unmounted").rename(shelf)
        mark(*given)

    monkeypatch.setattr(Tasks, "_mark", mounted)
    drain(worker)
    assert states(scenes) == {ImageState.READY}
    scenes.answer(ANSWERED)
    retrain(scenes)
    drain(worker)
    assert last(scenes).status is JobStatus.DONE, last(scenes).message
