"""The public face of dsrb_core, held by a list, and its promise not to load torch before it is needed."""

import subprocess
import sys

import pytest

import dsrb_core

NAMES = [
    "Combiner",
    "DSRB",
    "DSRBConfig",
    "EpochReport",
    "FeatureCache",
    "FitResult",
    "ImageIndex",
    "InstanceIndex",
    "LinearFloor",
    "MapSource",
    "Prediction",
    "TrainConfig",
    "average_precision",
    "extract",
    "fit",
    "hide_labels",
    "load_backbone",
    "load_model",
    "predict",
    "save_model",
]


def test_public_names_are_these_and_every_one_is_documented() -> None:
    assert sorted(dsrb_core.__all__) == sorted(NAMES)
    assert len(NAMES) <= 20
    for name in NAMES:
        assert getattr(dsrb_core, name).__doc__, name
    assert dir(dsrb_core) == sorted(NAMES)


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="no attribute 'SARB'"):
        _ = dsrb_core.SARB


@pytest.mark.parametrize(
    "module",
    [
        "dsrb_core",
        "dsrb_core.labels",
        "dsrb_core.metrics",
        "dsrb_core.index",
        "dsrb_core.category_vectors",
    ],
)
def test_torch_free_modules_do_not_load_torch(module: str) -> None:
    program = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
