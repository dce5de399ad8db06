"""A-35: no unpickler is ever called, from the import of pictures to the export of labels."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from annotator.actions import Actions
from annotator.records import JobStatus
from annotator.settings import Settings
from annotator.store import Store
from annotator.worker.loop import Worker
from dsrb_core.backbones import load_backbone
from tests.annotator.worker.drawn import Scenes, scenes
from tests.annotator.worker.driving import ANSWERED, drain, first_training, last, retrain
from tests.conftest import picture
from tests.faults.claims import Claims

__all__ = ["scenes"]


class Unpickled(AssertionError):
    """Something read a pickle."""


def explode(*_given: object, **_named: object) -> Any:
    raise Unpickled


@pytest.fixture
def no_unpickler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to read a pickle ends the test; NumPy's loader only where it was allowed to."""
    monkeypatch.setattr(pickle, "load", explode)
    monkeypatch.setattr(pickle, "loads", explode)
    monkeypatch.setattr(pickle, "Unpickler", explode)
    monkeypatch.setattr(pickle, "_Unpickler", explode)
    monkeypatch.setattr(torch, "load", explode)
    monkeypatch.setattr(torch.serialization, "load", explode)
    monkeypatch.setattr(torch.jit, "load", explode)
    real = np.load

    def load(*given: Any, allow_pickle: bool = False, **named: Any) -> Any:
        if allow_pickle:
            raise Unpickled
        return real(*given, allow_pickle=False, **named)

    monkeypatch.setattr(np, "load", load)


def test_from_pictures_to_suggestions_and_export_nothing_is_unpickled(
    no_unpickler: None, scenes: Scenes, tmp_path: Path, claim: Claims
) -> None:
    shown = claim("A-35", "No unpickler is called in import, training, suggestion, roll-back and export.")
    quiet = {"retrain_every": 10**6, "retrain_minutes": 10.0**6, "epochs": 2}
    worker = Worker(scenes.store, scenes.settings.model_copy(update=quiet))
    worker._tasks._backbone = load_backbone("tiny", device="cpu", threads=1)
    first_training(scenes, worker)
    scenes.answer([f"{number:03d}.jpg" for number in range(24, 27)])
    retrain(scenes)
    drain(worker)  # a warm start reads the model of the generation before
    assert last(scenes).status is JobStatus.DONE and "warm start" in last(scenes).message
    actions = Actions(scenes.store, scenes.settings)
    project = scenes.project.id
    ids = [question.image_id for question in actions.deck(project, 10).questions]
    assert ids and all(actions.item(project, image).suggested.suggestions for image in ids)
    actions.roll_back(project)
    table = tmp_path / "labels.csv"
    table.write_text(f"file_name,red ball\n{ANSWERED[0]},1\n", encoding="utf-8")
    actions.import_labels(project, table)
    actions.export_coco(project, tmp_path / "out.json")
    actions.export_csv(project, tmp_path / "out.csv")
    shown.done(1)


def a_pickle() -> bytes:
    return b"cposix\nsystem\n(S'touch /tmp/never'\ntR."


def a_zip_of_pickles() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/data.pkl", a_pickle())
        archive.writestr("archive/version", "3")
    return made.getvalue()


def an_array_of_objects() -> bytes:
    made = io.BytesIO()
    np.save(made, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("model.pt", a_zip_of_pickles()),
        ("model.pth", a_pickle()),
        ("model.pkl", a_pickle()),
        ("model.joblib", a_pickle()),
        ("objects.npy", an_array_of_objects()),
        ("model.safetensors", a_pickle()),
        ("photo.jpg", a_pickle()),
        ("photo.png", a_zip_of_pickles()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_pickle_among_the_pictures_is_refused_by_name(
    no_unpickler: None, store: Store, settings: Settings, tmp_path: Path, name: str, data: bytes
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(data)
    picture(tmp_path / "in" / "real.png")
    actions = Actions(store, settings)
    project = actions.create_project("p")
    report = actions.import_folder(project.id, tmp_path / "in")
    assert report.added == 1 and [one.name for one in report.refused] == [name]


def test_the_patch_itself_notices_an_unpickler(no_unpickler: None, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2]
    with pytest.raises(Unpickled):
        np.load(tmp_path / "a.npy", allow_pickle=True)
    with pytest.raises(Unpickled):
        pickle.loads(b"")
    with pytest.raises(Unpickled):
        torch.load(tmp_path / "a.npy")
