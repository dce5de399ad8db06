"""DSRB on cached feature maps: a model library for multi-label images with partial labels.

Names are loaded on first use (PEP 562), so importing one torch-free module, such as `dsrb_core.index`,
never pays for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsrb_core.backbones import load_backbone
    from dsrb_core.baselines import LinearFloor
    from dsrb_core.cache import FeatureCache
    from dsrb_core.calibration import Combiner
    from dsrb_core.checkpoint import load_model, save_model
    from dsrb_core.config import DSRBConfig, TrainConfig
    from dsrb_core.features import extract
    from dsrb_core.index import ImageIndex, InstanceIndex
    from dsrb_core.labels import hide_labels
    from dsrb_core.metrics import average_precision
    from dsrb_core.model import DSRB
    from dsrb_core.predictor import Prediction, predict
    from dsrb_core.trainer import EpochReport, FitResult, MapSource, fit

_HOME = {
    "Combiner": "calibration",
    "DSRB": "model",
    "DSRBConfig": "config",
    "EpochReport": "trainer",
    "FeatureCache": "cache",
    "FitResult": "trainer",
    "ImageIndex": "index",
    "InstanceIndex": "index",
    "LinearFloor": "baselines",
    "MapSource": "trainer",
    "Prediction": "predictor",
    "TrainConfig": "config",
    "average_precision": "metrics",
    "extract": "features",
    "fit": "trainer",
    "hide_labels": "labels",
    "load_backbone": "backbones",
    "load_model": "checkpoint",
    "predict": "predictor",
    "save_model": "checkpoint",
}

__all__ = [
    "DSRB",
    "Combiner",
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


def __getattr__(name: str) -> object:
    """Load a public name from its module the first time it is asked for; AttributeError for any other."""
    if name not in _HOME:
        raise AttributeError(f"module 'dsrb_core' has no attribute {name!r}")
    return getattr(import_module(f"dsrb_core.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """List the public names without loading them."""
    return sorted(__all__)
