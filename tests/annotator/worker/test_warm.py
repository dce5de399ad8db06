"""When a training goes on from the current generation's model, and that it survives whatever it finds."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from annotator import artifacts
from annotator.actions import Actions
from annotator.records import CellState
from annotator.snapshotting import freeze
from annotator.store import categories
from annotator.worker import tasks, warm
from annotator.worker.loop import Worker
from annotator.worker.warm import Change, Start, changed_cells, small
from dsrb_core.backbones import Backbone
from dsrb_core.model import DSRB
from dsrb_core.reports import Stopped
from dsrb_core.trainer import FitResult
from tests.annotator.worker.drawn import Scenes
from tests.annotator.worker.driving import (
    ANSWERED,
    decide,
    first_training,
    last,
    manifest_of,
    model_of,
    trained,
)

NOTHING = Change(
    known_before=100, known_now=100, changed=0, images_before=100, images_now=100, frame_images=100
)
BALL = "red ball"


# --- the policy


@pytest.mark.parametrize(
    ("change", "warm_start"),
    [
        ({}, True),
        ({"known_now": 119, "changed": 19, "images_now": 119}, True),
        ({"known_now": 120}, False),
        ({"changed": 20}, False),
        ({"images_now": 120}, False),
        ({"known_now": 40, "images_now": 90}, True),
        ({"known_before": 0, "known_now": 0}, False),
        ({"known_before": 4, "known_now": 5}, False),
        ({"images_now": 110, "frame_images": 56}, True),
        ({"images_now": 110, "frame_images": 55}, False),
    ],
)
def test_only_a_small_change_is_worth_a_warm_start(change: dict[str, int], warm_start: bool) -> None:
    assert small(replace(NOTHING, **change)) is warm_start


def test_the_residual_gets_its_chance_at_the_start_and_every_fifth_time() -> None:
    runs = [Start(vectors=None, frame_images=1, runs=number).recheck for number in range(11)]
    assert [number for number, checked in enumerate(runs) if checked] == [0, 5, 10]


def test_changed_cells_are_counted_as_a_loop_counts_them() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        before = rng.integers(-1, 2, (6, 5))
        touched = rng.random((6, 5)) < 0.4
        now = np.where(touched, rng.integers(-1, 2, (6, 5)), before)
        slow = sum(bool(touched[cell]) and before[cell] != 0 for cell in np.ndindex(6, 5))
        assert changed_cells(touched, now != 0, int((before != 0).sum())) == slow


# --- on the real database


def test_a_few_decisions_later_the_training_goes_on_from_the_model(scenes: Scenes, worker: Worker) -> None:
    first = first_training(scenes, worker)
    scenes.answer(["024.jpg", "025.jpg"])
    second = trained(scenes, worker)
    assert second.metrics["warm_start"] is True and "(warm start)" in last(scenes).message
    manifest = manifest_of(scenes, second)
    assert (manifest["warm"], manifest["frame_images"]) == (1, 40)
    before, after = model_of(scenes, first)[1], model_of(scenes, second)[1]
    assert torch.equal(before.frame.projection, after.frame.projection), "a warm start keeps the frame"


@pytest.mark.parametrize(("gate", "chain", "checked"), [(0.0, 0, False), (0.5, 0, True), (0.0, 4, True)])
def test_a_silent_residual_is_checked_again_only_every_fifth_time(
    scenes: Scenes,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    gate: float,
    chain: int,
    checked: bool,
) -> None:
    first_training(scenes, worker)
    real = warm._from

    def later(*args: object) -> Start:
        start = real(*args)  # type: ignore[arg-type]
        assert start.model is not None
        start.model.gate.fill_(gate)
        return replace(start, runs=start.runs + chain)

    monkeypatch.setattr(warm, "_from", later)
    scenes.answer(["024.jpg"])
    generation = trained(scenes, worker)
    assert manifest_of(scenes, generation)["warm"] == chain + 1
    assert any(point["stage"] == "checking" for point in last(scenes).curves) is checked
    assert checked or generation.metrics["gate"] == 0


def test_a_chain_of_warm_starts_is_counted_and_a_large_change_ends_it(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_training(scenes, worker)
    for expected in (1, 2):
        scenes.answer([f"{24 + expected:03d}.jpg"])
        assert manifest_of(scenes, trained(scenes, worker))["warm"] == expected
    scenes.answer([f"{number:03d}.jpg" for number in range(27, 40)])  # 39 new cells after 78
    generation = trained(scenes, worker)
    assert (generation.metrics["warm_start"], manifest_of(scenes, generation)["warm"]) == (False, 0)


@pytest.mark.parametrize("state", [CellState.NEGATIVE, CellState.UNKNOWN, CellState.UNSURE])
def test_many_changed_answers_start_from_scratch(scenes: Scenes, worker: Worker, state: CellState) -> None:
    first_training(scenes, worker)
    decide(scenes, ANSWERED[:15], BALL, state)  # 15 of 72 known cells
    assert trained(scenes, worker).metrics["warm_start"] is False


def test_few_changed_answers_do_not(scenes: Scenes, worker: Worker) -> None:
    first_training(scenes, worker)
    decide(scenes, ANSWERED[:14], BALL, CellState.NEGATIVE)
    assert trained(scenes, worker).metrics["warm_start"] is True


def test_a_new_category_gets_a_row_and_the_others_keep_their_floor(scenes: Scenes, worker: Worker) -> None:
    first = first_training(scenes, worker)
    late = Actions(scenes.store, scenes.settings).add_category(scenes.project.id, "late")
    decide(scenes, ["000.jpg"], "late", CellState.POSITIVE)
    decide(scenes, ["001.jpg", "002.jpg"], "late", CellState.NEGATIVE)
    second = trained(scenes, worker)
    assert second.metrics["warm_start"] is True
    (old_ids, before), (ids, after) = model_of(scenes, first), model_of(scenes, second)
    assert ids == [*old_ids, late.id] and after.categories == 4
    assert torch.allclose(after.floor_weight[:3], before.floor_weight, atol=0.02)
    assert float(after.floor_weight[3].abs().max()) > 0
    assert int(after.bank.counts[3].sum()) == 1


def test_every_row_of_the_model_is_found_by_its_category(
    scenes: Scenes, worker: Worker, backbone: Backbone
) -> None:
    first = first_training(scenes, worker)
    ids = scenes.category_ids()
    scenes.store.write(lambda c: categories.archive(c, ids["red ball"], now=1))
    Actions(scenes.store, scenes.settings).add_category(scenes.project.id, "late")
    frozen = freeze(scenes.store, scenes.project.id)
    start = warm.plan(scenes.store, scenes.settings, frozen, backbone, None)
    old_ids, before = model_of(scenes, first)
    assert start.model is not None and start.model.categories == 3
    kept = [old_ids.index(ids[name]) for name in ("blue box", "green bar")]
    for row in ("class_weight", "attention.category_map", "bank.vectors", "floor_weight"):
        assert torch.equal(start.model.state_dict()[row][:2], before.state_dict()[row][kept]), row
        assert not start.model.state_dict()[row][2].any(), "the new one"
    assert (start.runs, start.recheck, start.frame_images) == (1, False, 40)


def test_an_archived_category_leaves_and_a_renamed_one_keeps_everything(
    scenes: Scenes, worker: Worker
) -> None:
    first = first_training(scenes, worker)
    ids = scenes.category_ids()
    scenes.store.write(lambda c: categories.archive(c, ids["blue box"], now=1))
    scenes.store.write(lambda c: categories.rename(c, ids[BALL], "scarlet sphere"))
    second = trained(scenes, worker)
    assert second.metrics["warm_start"] is True
    (old_ids, before), (now_ids, after) = model_of(scenes, first), model_of(scenes, second)
    assert now_ids == [one for one in old_ids if one != ids["blue box"]]
    kept = [old_ids.index(one) for one in now_ids]
    assert torch.allclose(after.floor_weight, before.floor_weight[kept], atol=0.02)
    assert (after.bank.counts.sum(1) == before.bank.counts[kept].sum(1)).all()


def test_only_new_categories_have_nothing_to_go_on_from(scenes: Scenes, worker: Worker) -> None:
    first_training(scenes, worker)
    for identifier in scenes.category_ids().values():
        scenes.store.write(lambda c, identifier=identifier: categories.archive(c, identifier, now=1))
    Actions(scenes.store, scenes.settings).add_category(scenes.project.id, "late")
    decide(scenes, ["000.jpg"], "late", CellState.POSITIVE)
    assert trained(scenes, worker).metrics["warm_start"] is False


# --- what cannot be continued


def damage(folder: Path) -> None:
    path = folder / "checkpoint" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def lose(folder: Path) -> None:
    (folder / "checkpoint" / "config.json").unlink()


def empty_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")


@pytest.mark.parametrize("harm", [damage, lose, empty_manifest])
def test_a_damaged_generation_is_a_cold_start_with_a_warning(
    scenes: Scenes, worker: Worker, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None]
) -> None:
    first = first_training(scenes, worker)
    harm(scenes.settings.data_dir / first.folder)
    with caplog.at_level(logging.WARNING):
        second = trained(scenes, worker)
    assert second.metrics["warm_start"] is False
    assert f"generation {first.id}" in caplog.text and "training from scratch" in caplog.text


@pytest.mark.parametrize(
    ("file", "values", "said"),
    [
        ("manifest.json", {"backbone": "lite0-320"}, "another backbone"),
        ("manifest.json", {"grid": [1, 1]}, "another backbone"),
        ("manifest.json", {"category_vectors": "text"}, "another source"),
        ("manifest.json", {"categories": [{}]}, "not one of ours"),
        ("checkpoint/config.json", {"features": 7}, "do not fit"),
        ("checkpoint/config.json", {"format": 99}, "format 99"),
        ("checkpoint/config.json", {"word_features": "x"}, "not one of a model"),
    ],
)
def test_a_generation_of_another_kind_is_a_cold_start_with_a_warning(
    scenes: Scenes,
    worker: Worker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    values: dict[str, object],
    said: str,
) -> None:
    first = first_training(scenes, worker)
    folder = scenes.settings.data_dir / first.folder
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | values))
    # Its digests are right: what is wrong came from another program or version.
    monkeypatch.setattr(artifacts, "verify", lambda *_: manifest | (values if "manifest" in file else {}))
    with caplog.at_level(logging.WARNING):
        second = trained(scenes, worker)
    assert second.metrics["warm_start"] is False and said in caplog.text


def other_options(model: DSRB) -> None:
    model.config = replace(model.config, l2=0.5)


def not_finite(model: DSRB) -> None:
    model.floor_bias[0] = float("nan")


@pytest.mark.parametrize(
    ("change", "said"), [(other_options, "other options"), (not_finite, "values that are not finite")]
)
def test_a_model_that_cannot_be_learnt_from_is_not_continued(
    scenes: Scenes,
    worker: Worker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[DSRB], None],
    said: str,
) -> None:
    first_training(scenes, worker)
    real = warm.load_model

    def changed(folder: Path) -> DSRB:
        model = real(folder)
        change(model)
        return model

    monkeypatch.setattr(warm, "load_model", changed)
    with caplog.at_level(logging.WARNING):
        assert trained(scenes, worker).metrics["warm_start"] is False
    assert said in caplog.text


def test_a_warm_start_that_diverges_is_tried_again_from_scratch(
    scenes: Scenes, worker: Worker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_training(scenes, worker)
    real = tasks.fit

    def diverging(*args: Any, **options: Any) -> FitResult:
        result = real(*args, **options)
        return result if options["warm_start"] is None else replace(result, stopped=Stopped.DIVERGED)

    monkeypatch.setattr(tasks, "fit", diverging)
    generation = trained(scenes, worker)
    assert (generation.metrics["warm_start"], manifest_of(scenes, generation)["warm"]) == (False, 0)
    assert "the warm start diverged" in caplog.text
