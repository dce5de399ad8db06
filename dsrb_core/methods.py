"""Every method the protocol can compare, by name: `METHODS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from dsrb_core.baselines import fit_floor
from dsrb_core.category_vectors import Vectors
from dsrb_core.config import DSRBConfig, TrainConfig
from dsrb_core.frame import Frame
from dsrb_core.labels import Labels, check_trainable
from dsrb_core.method import Method, OnEpoch, Rows, Scores, scattered
from dsrb_core.neighbour_methods import NeighbourMethod
from dsrb_core.neighbour_vote import NeighbourVote
from dsrb_core.pooled_head import fit_head, loss_mode
from dsrb_core.residual_methods import ResidualMethod, SARBStages
from dsrb_core.sst import SSTStages
from dsrb_core.tokens import MapSource

__all__ = ["METHODS", "Method", "PooledMethod", "method", "with_category_vectors"]

PooledFit = Callable[[Tensor, Labels, TrainConfig], Callable[[Tensor], Tensor]]
"""Features (n, F) in the frame and labels (n, C) -> a function from features to logits."""


@dataclass(frozen=True)
class PooledMethod:
    """A `Method` on pooled features alone, in the frame of the training images."""

    name: str
    about: str
    learn: PooledFit

    def fit_predict(
        self,
        source: MapSource,
        labels: Labels,
        train_rows: Rows,
        test_rows: Rows,
        *,
        seed: int,
        training: TrainConfig,
        on_epoch: OnEpoch | None = None,
    ) -> Scores:
        """See `Method`."""
        partial = check_trainable(labels[train_rows])
        pooled = torch.from_numpy(np.ascontiguousarray(source.pooled(), dtype=np.float32)).to(training.device)
        frame = Frame(source.dim, 1).to(training.device)
        frame.measure(pooled[torch.from_numpy(train_rows)])
        features, known = frame.standardise(pooled), (partial != 0).any(axis=1)
        score = self.learn(
            features[torch.from_numpy(train_rows[known])], partial[known], replace(training, seed=seed)
        )
        rows = np.concatenate([train_rows, test_rows])
        with torch.no_grad():
            logits = score(features[torch.from_numpy(rows)]).cpu().numpy()
        return scattered(len(source), rows, logits)


def _linear(features: Tensor, labels: Labels, training: TrainConfig) -> Callable[[Tensor], Tensor]:
    options = {"l2": training.floor_l2, "folds": training.floor_folds, "seed": training.seed}
    return fit_floor(features, labels, **options).floor  # type: ignore[arg-type]


def _neighbours(features: Tensor, labels: Labels, training: TrainConfig) -> Callable[[Tensor], Tensor]:
    vote = NeighbourVote(features, labels)
    temperature = vote.tune()
    return lambda asked: vote.logits(asked, temperature=temperature)


def _head(mode: str) -> PooledFit:
    def learn(features: Tensor, labels: Labels, training: TrainConfig) -> Callable[[Tensor], Tensor]:
        return fit_head(features, labels, config=loss_mode(mode), training=training)

    return learn


_NO_BLENDING = {"instance_weight": 0.0, "prototype_weight": 0.0}
_PUBLISHED = {
    "partner": "reversal",
    "targets": "soft",
    "negative_pairs": True,
    "graph": True,
    "contrastive_weight": 0.05,
}
_PAPER_HEAD = {
    "attention_start": 0.0,
    "graph_dim": 128,  # = dim: no projection before the graph
    "graph_steps": 3,
    "graph_shrinkage": 0.0,
    "hidden": 128,
    "weight": "learnable",
    "detach_targets": False,
    "l2": 5e-4,
}


def _options(**values: object) -> DSRBConfig:
    return DSRBConfig.from_dict(values)


def _registered(*methods: Method) -> Mapping[str, Method]:
    return MappingProxyType({method.name: method for method in methods})


_ABLATIONS = tuple(
    ResidualMethod(name, about, _options(**changed), gate=0.5)
    for name, about, changed in (
        ("dsrb-half", "dsrb with gate 0.5, whatever the held-out cells say", {}),
        ("dsrb-no-blending", "dsrb-half without blending", _NO_BLENDING),
        ("dsrb-no-instance", "dsrb-half without instance blending", {"instance_weight": 0.0}),
        ("dsrb-no-prototypes", "dsrb-half without prototype blending", {"prototype_weight": 0.0}),
        ("dsrb-graph", "dsrb-half with the graph", {"graph": True}),
        ("dsrb-contrastive", "dsrb-half with the contrastive term", {"contrastive_weight": 0.05}),
        ("dsrb-tokens", "dsrb-half, instances exchange locations", {"blending": "tokens"}),
        ("dsrb-mean-prototypes", "dsrb-half with one prototype a category", {"prototypes": "mean"}),
        ("dsrb-kmeans", "dsrb-half with 10 K-means prototypes", {"prototypes": "kmeans"}),
    )
)


METHODS: Mapping[str, Method] = _registered(
    PooledMethod("linear", "L2 logistic regression on pooled features, the floor", _linear),
    PooledMethod("knn", "cosine vote of known cells, temperature by held-out known cells", _neighbours),
    PooledMethod("partial-bce", "network on pooled features, unknown cells ignored", _head("ignore")),
    PooledMethod("weak-negative", "the same, unknown cells weak negatives", _head("weak-negative")),
    PooledMethod(
        "selective", "the same, unlikely unknown cells weak negatives, asymmetric focus", _head("selective")
    ),
    ResidualMethod(
        "csrl",
        "floor + semantic attention and graph (SSGRL), no blending, gate 1",
        _options(**_NO_BLENDING, graph=True),
    ),
    ResidualMethod(
        "sst",
        "csrl + pseudo-labels within and across images, gate 1",
        _options(**_NO_BLENDING, graph=True, contrastive_weight=0.05, negative_pairs=True),
        stages=SSTStages,
    ),
    ResidualMethod(
        "sarb",
        "csrl + instance blending and 10 K-means prototypes, gate 1",
        _options(**_PUBLISHED, prototypes="kmeans", clusters=10),
        stages=SARBStages,
    ),
    ResidualMethod("dsrb", "this library's default, gate by held-out known cells", gate=None),
    NeighbourMethod(
        "linear+neighbours", "linear and the vote of decided instances", residual=False, propagation=False
    ),
    NeighbourMethod(
        "linear+propagation", "linear, propagation and the vote of decided instances", residual=False
    ),
    NeighbourMethod(
        "dsrb+neighbours", "dsrb and the vote of decided instances", residual=True, propagation=False
    ),
    NeighbourMethod(
        "assistant", "the default: dsrb, propagation and the vote of decided instances", residual=True
    ),
    NeighbourMethod(
        "linear+context",
        "linear+propagation and the picture's own known cells (hidden cells only)",
        residual=False,
        context=True,
    ),
    NeighbourMethod(
        "assistant+context",
        "assistant and the picture's own known cells (hidden cells only)",
        residual=True,
        context=True,
    ),
    *_ABLATIONS,
    ResidualMethod(
        "dsrb-paper-head",
        "floor + DSRB with the published switches, gate 1",
        _options(**_PUBLISHED, **_PAPER_HEAD),
    ),
)


ABLATIONS = tuple(one.name for one in _ABLATIONS)
"""Methods that differ from the default in one part, the residual always on so that the part can be seen."""


def method(name: str) -> Method:
    """The method called `name`; ValueError lists the names there are."""
    if name not in METHODS:
        raise ValueError(f"There is no method {name!r}; there are {', '.join(METHODS)}.")
    return METHODS[name]


def with_category_vectors(chosen: Method, vectors: Vectors | None) -> Method:
    """The method with category vectors (C, S) for its attention; one without an attention stays as it is."""
    if isinstance(chosen, ResidualMethod) or (isinstance(chosen, NeighbourMethod) and chosen.residual):
        return replace(chosen, category_vectors=vectors)
    return chosen
