"""R-49: the same answers, seed and processor give the same model; a generation says what it was made of."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from annotator import __version__, artifacts
from annotator.store import Store
from annotator.worker.loop import Worker
from dsrb_core.backbones import Backbone
from tests.annotator.worker.drawn import Scenes
from tests.annotator.worker.driving import ANSWERED, trained


def trained_in(scenes: Scenes, backbone: Backbone, seed: int) -> tuple[dict[str, object], np.ndarray]:
    """Manifest and logits (N, C) of a first training with this seed."""
    update = {"retrain_every": 10**6, "retrain_minutes": 10.0**6, "epochs": 2, "threads": 1, "seed": seed}
    worker = Worker(scenes.store, scenes.settings.model_copy(update=update))
    worker._tasks._backbone = backbone
    generation = trained(scenes, worker)
    folder = scenes.settings.data_dir / generation.folder
    return artifacts.verify(folder, generation.manifest_sha256), np.load(folder / "logits.npy")


def test_the_same_answers_and_seed_give_the_same_figures_and_ranking(
    scenes: Scenes, backbone: Backbone, tmp_path: Path
) -> None:
    scenes.answer(ANSWERED)
    found = []
    for copy, seed in (("one", 3), ("two", 3)):
        settings = scenes.settings.model_copy(update={"data_dir": tmp_path / copy})
        shutil.copytree(scenes.settings.data_dir, settings.data_dir)
        store = Store.open(settings)
        try:
            found.append(trained_in(replace(scenes, store=store, settings=settings), backbone, seed))
        finally:
            store.close()
    (first, scores), (second, again) = found
    assert first["made_by"] == second["made_by"]
    assert first["metrics"] == second["metrics"], "to six digits"
    assert first["categories"] == second["categories"]
    assert np.array_equal(np.argsort(scores, axis=0), np.argsort(again, axis=0))
    assert np.abs(scores.astype(float) - again.astype(float)).max() <= 1e-6


def test_a_generation_says_with_what_and_from_what_it_was_made(scenes: Scenes, backbone: Backbone) -> None:
    scenes.answer(ANSWERED)
    manifest, _ = trained_in(scenes, backbone, seed=5)
    with scenes.store.read() as c:
        digest = c.exec_driver_sql("SELECT digest FROM snapshot").scalar_one()
    made = manifest["made_by"]
    assert isinstance(made, dict)
    assert (made["annotator"], made["torch"]) == (__version__, torch.__version__)
    assert (made["seed"], made["device"], made["labels_sha256"]) == (5, "cpu", digest)
    assert made["numpy"] and made["python"] and made["epochs"] == 2
