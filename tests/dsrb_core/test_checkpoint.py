"""Models and training states on disk."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from dsrb_core.checkpoint import load_model, load_training, save_model, save_training
from dsrb_core.config import DSRBConfig
from dsrb_core.model import DSRB


def make(*, words: torch.Tensor | None = None) -> DSRB:
    torch.manual_seed(0)
    config = DSRBConfig(dim=6, attention_dim=4, graph_dim=3, hidden=5, weight="learnable")
    model = DSRB(features=8, grid=(2, 3), categories=4, config=config, words=words).eval()
    model.frame.measure(torch.randn(20, 8))
    model.gate.fill_(0.5)
    model.bank.counts.fill_(2)
    with torch.no_grad():
        model.class_weight.normal_()
    model.bank.vectors.normal_()
    return model


@pytest.mark.parametrize("words", [None, torch.randn(4, 3)])
def test_saved_model_gives_identical_logits_and_prototypes(
    tmp_path: Path, words: torch.Tensor | None
) -> None:
    model, maps = make(words=words), torch.randn(3, 6, 8)
    save_model(model, tmp_path / "checkpoint")
    loaded = load_model(tmp_path / "checkpoint")
    assert torch.equal(loaded(maps).logits, model(maps).logits)
    assert torch.equal(loaded.bank.vectors, model.bank.vectors)
    assert torch.equal(loaded.bank.filled, model.bank.filled)
    assert loaded.config == model.config
    assert not loaded.training
    assert sorted(path.name for path in (tmp_path / "checkpoint").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_damaged_weights_are_found_before_they_are_used(tmp_path: Path) -> None:
    save_model(make(), tmp_path)
    path = tmp_path / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "sentence"), [("format", 1, "format 1"), ("categories", 5, "do not fit")]
)
def test_other_format_or_other_shapes_are_refused(
    tmp_path: Path, key: str, value: int, sentence: str
) -> None:
    save_model(make(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ValueError, match=sentence):
        load_model(tmp_path)


@pytest.mark.parametrize("about", [{"grid": [2]}, {"config": None}, {"word_features": "three"}])
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, about: dict[str, object]) -> None:
    save_model(make(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | about))
    with pytest.raises(ValueError, match="not one of a model"):
        load_model(tmp_path)


def test_weights_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    save_model(make(), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    path = tmp_path / "config.json"
    about = json.loads(path.read_text()) | {"sha256": hashlib.sha256(b"nonsense").hexdigest()}
    path.write_text(json.dumps(about))
    with pytest.raises(ValueError, match="do not fit"):
        load_model(tmp_path)


def test_training_state_comes_back_and_an_absent_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.safetensors"
    assert load_training(path) is None
    save_training(path, {"a": torch.arange(3.0)}, {"epoch": 2})
    found = load_training(path)
    assert found is not None
    assert found[0]["a"].tolist() == [0, 1, 2]
    assert found[1] == {"epoch": 2}
    assert [p.name for p in path.parent.iterdir()] == ["run.safetensors"]


def test_damaged_training_state_is_said_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    path.write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    with pytest.raises(ValueError, match=r"checkpoint run\.safetensors is damaged"):
        load_training(path)
