"""Models and training states on disk."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from dsrb_core.checkpoint import load_model, load_training, pack, save_model, save_training, unpack
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


def rewritten(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """A saved model whose tensors were changed, with a digest that is right again."""
    save_model(make(), folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    return replaced(folder, save(tensors))


def replaced(folder: Path, data: bytes) -> Path:
    (folder / "model.safetensors").write_bytes(data)
    config = folder / "config.json"
    about = json.loads(config.read_text()) | {"sha256": hashlib.sha256(data).hexdigest()}
    config.write_text(json.dumps(about))
    return folder


Tensors = dict[str, torch.Tensor]


def odd_number(tensors: Tensors) -> None:
    tensors["class_weight"][0, 0] = float("nan")


def endless(tensors: Tensors) -> None:
    tensors["floor_bias"][0] = float("inf")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("class_weight"), "class_weight is missing"),
        (lambda t: t.update(backdoor=torch.zeros(1)), "backdoor does not belong there"),
        (lambda t: t.update(class_weight=torch.zeros(4, 10**4)), r"class_weight has the shape \[4, 10000\]"),
        (lambda t: t.update(class_weight=t["class_weight"].double()), "class_weight has the type torch.flo"),
        (odd_number, "class_weight holds values that are not finite"),
        (endless, "floor_bias holds values that are not finite"),
        (lambda t: t.update({f"x{n}": torch.zeros(1) for n in range(20_000)}), "x0 does not belong there"),
    ],
    ids=["missing", "extra", "shape", "type", "nan", "infinity", "many"],
)
def test_weights_that_do_not_fit_are_refused_naming_the_first_that_does_not(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], sentence: str
) -> None:
    folder = rewritten(tmp_path, change)
    with pytest.raises(ValueError, match=f"do not fit their configuration: {sentence}"):
        load_model(folder)


def test_more_categories_than_the_configuration_are_refused(tmp_path: Path) -> None:
    save_model(make(), tmp_path)
    torch.manual_seed(0)
    more = DSRB(features=8, grid=(2, 3), categories=9, config=make().config)
    data = save({name: value.contiguous() for name, value in more.state_dict().items()})
    with pytest.raises(ValueError, match=r"has the shape \[9"):
        load_model(replaced(tmp_path, data))


def header(length: int, text: bytes) -> bytes:
    return length.to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "data",
    [
        header(99 * 2**20, b"{}"),
        header(2**63, b"{}"),
        header(40, b'{"class_weight":{"dtype":"F32","shape":[2'),
        b"PK\x03\x04" + b"\0" * 60,
        b"\x80\x05\x95\x0e\0\0\0\0\0\0\0\x8c\x05posix",
    ],
    ids=["99 MB header", "8 EB header", "cut header", "zip", "pickle"],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, data: bytes) -> None:
    save_model(make(), tmp_path)
    with pytest.raises(ValueError, match="do not fit their configuration"):
        load_model(replaced(tmp_path, data))


@pytest.mark.parametrize("cut", [1, 100, 2000])
def test_a_truncated_file_is_refused_even_with_its_digest(tmp_path: Path, cut: int) -> None:
    save_model(make(), tmp_path)
    data = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="do not fit their configuration"):
        load_model(replaced(tmp_path, data[:-cut]))


@pytest.mark.parametrize("text", ["[]", "3", "null"])
def test_a_configuration_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    save_model(make(), tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="not one of a model"):
        load_model(tmp_path)


def test_a_training_state_of_another_model_or_with_odd_numbers_is_refused() -> None:
    model = make()
    optimizer = torch.optim.AdamW(model.parameters())
    tensors = pack(model, optimizer)
    unpack(tensors, model, optimizer)
    with pytest.raises(ValueError, match="does not fit the model"):
        unpack(tensors | {"model.class_weight": torch.zeros(9, 9)}, model, optimizer)
    spoilt = tensors["model.class_weight"].clone()
    spoilt[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"model\.class_weight holds values that are not finite"):
        unpack(tensors | {"model.class_weight": spoilt}, model, optimizer)
