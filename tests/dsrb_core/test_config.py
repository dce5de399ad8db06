"""Options are checked when they are made and survive a trip through JSON."""

import json

import pytest

from dsrb_core.config import DSRBConfig, TrainConfig


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"dim": 0}, "dim"),
        ({"weight_start": 1.5}, "weight_start"),
        ({"weight": "learnable", "weight_start": 1.0}, "weight_start"),
        ({"partner": "nearest"}, "partner"),
        ({"contrastive_weight": -0.1}, "contrastive_weight"),
        ({"l2": float("nan")}, "l2"),
    ],
)
def test_impossible_model_option_is_refused_by_name(options: dict[str, object], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        DSRBConfig(**options)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"epochs": 0}, "epochs"),
        ({"heldout": 0.9}, "heldout"),
        ({"floor_l2": ()}, "floor_l2"),
        ({"floor_l2": (0.0,)}, "floor_l2"),
        ({"floor_folds": 1}, "floor_folds"),
        ({"gates": (0.5, 1.5)}, "gates"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_impossible_training_option_is_refused_by_name(options: dict[str, object], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        TrainConfig(**options)


def test_options_survive_json() -> None:
    for options in (DSRBConfig(weight="beta", cells=3), TrainConfig(gates=(0.5,), seed=4)):
        assert type(options).from_dict(json.loads(json.dumps(options.to_dict()))) == options


def test_unknown_option_is_refused() -> None:
    with pytest.raises(ValueError, match="no option named 'epoch'"):
        TrainConfig.from_dict({"epoch": 3})


@pytest.mark.parametrize(("kind", "expected"), [("quadrants", 9), ("mean", 1), ("kmeans", 7)])
def test_number_of_prototypes_follows_their_kind(kind: str, expected: int) -> None:
    assert DSRBConfig(prototypes=kind, cells=3, clusters=7).prototypes_per_category == expected
