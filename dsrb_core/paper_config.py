"""What can be chosen in the paper profile; every default is the published value (method.md 2 and 3.5)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from dsrb_core.config import DSRBConfig, Jsonable, check_choices, check_range


@dataclass(frozen=True, kw_only=True)
class PaperConfig(Jsonable):
    """The published network, augmentation and schedule. ValueError at construction when a value cannot work.

    Sizes are pixels, epochs count from 0. `ssgrl` is the network alone, `sarb` blends with one of K clusters
    shared by a whole step, `dsrb` with the prototype of another quadrant of the picture.
    """

    method: Literal["ssgrl", "sarb", "dsrb"] = "dsrb"
    backbone: str = "resnet101"  # any ResNet of torchvision; the small ones are for trials
    image_size: int = 448  # what the network sees
    resized: int = 512  # both sides, before the crop
    crops: tuple[int, ...] = (512, 448, 384, 320, 256)  # side of the random crop, chosen uniformly
    dim: int = 1024  # D, channels of the map, of a category vector and of a graph node
    attention_dim: int = 512  # d of the bilinear attention
    graph_steps: int = 3  # T
    graph_shrinkage: float = 5.0  # observations an edge needs to count half: the repair B4; 0 = plain shares
    epochs: int = 20
    batch_size: int = 8  # pictures of a step, per process; the last partial batch of an epoch is dropped
    learning_rate: float = 1e-5  # of Adam
    weight_decay: float = 5e-4  # L2, on both lambdas too
    decay_every: int = 10  # epochs between two steps of the learning rate
    decay: float = 0.1  # factor of such a step
    blend_from: int = 5  # first epoch of the two blended losses
    prototypes_every: int = 5  # epochs between two prototype passes
    clusters: int = 10  # K of `sarb`
    cluster_members: int = 2048  # most members of a category that K-means sees, drawn at random
    cells: int = 2  # side of the grid of `dsrb`: 2 = quadrants
    place: Literal["map", "attention"] = "map"  # whose peak says in which quadrant: published, or repaired
    top_k: int = 1  # categories of a picture that are blended with a prototype
    partner: Literal["reversal", "permutation", "class_aware"] = "reversal"
    weight: Literal["clamped", "learnable", "fixed", "beta"] = "clamped"  # how lambda is had
    weight_start: float = 0.5
    beta: float = 2.0  # lambda ~ Beta(beta, beta)
    targets: Literal["soft", "weighted"] = "soft"
    detach_targets: bool = False
    negative_pairs: bool = True  # (-,-) pairs in the contrastive loss
    instance_weight: float = 1.0
    prototype_weight: float = 1.0
    contrastive_weight: float = 0.05  # grows from 0 during epoch 0
    amp: Literal["off", "bf16", "fp16"] = "off"  # mixed precision; losses stay in float32

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, 1, ("image_size", "resized", "dim", "attention_dim", "epochs", "batch_size"))
        check_range(self, 1, ("decay_every", "prototypes_every", "clusters", "cluster_members", "cells"))
        check_range(self, 1, ("top_k",))
        check_range(self, 0, ("graph_steps", "graph_shrinkage", "weight_decay", "decay", "blend_from"))
        check_range(self, 0, ("instance_weight", "prototype_weight", "contrastive_weight"))
        check_range(self, 1e-12, ("learning_rate",))
        check_range(self, 1e-3, ("beta",))
        check_range(self, 0.0, ("weight_start",), high=1.0)
        if not self.crops or not all(0 < side <= self.resized for side in self.crops):
            raise ValueError(f"crops must lie between 1 and resized = {self.resized}, not {self.crops}.")
        if self.image_size < 64:
            raise ValueError(
                f"image_size must be at least 64, for a map of one place, not {self.image_size}."
            )

    @property
    def prototypes_per_category(self) -> int:
        """K of the prototype bank; `ssgrl` has a bank that stays empty."""
        return {"ssgrl": 1, "sarb": self.clusters, "dsrb": self.cells**2}[self.method]

    def learning_rate_in(self, epoch: int) -> float:
        """The learning rate of `epoch`: a step of `decay` every `decay_every` epochs."""
        return self.learning_rate * self.decay ** (epoch // self.decay_every)

    def blends_in(self, epoch: int) -> bool:
        """Whether the two blended losses are on in `epoch`."""
        return self.method != "ssgrl" and epoch >= self.blend_from

    def prototypes_in(self, epoch: int) -> bool:
        """Whether `epoch` begins with a prototype pass."""
        return self.blends_in(epoch) and (epoch - self.blend_from) % self.prototypes_every == 0

    def losses(self) -> DSRBConfig:
        """The options of `losses.Criterion`: the published weights, no L2 of its own."""
        return DSRBConfig(
            instance_weight=self.instance_weight,
            prototype_weight=self.prototype_weight,
            contrastive_weight=0.0 if self.method == "ssgrl" else self.contrastive_weight,
            negative_pairs=self.negative_pairs,
            l2=0.0,
        )

    def changed(self, assignments: Sequence[str]) -> Self:
        """The options after `name=value` texts, values in JSON or plain words; ValueError names a bad one."""
        values: dict[str, Any] = self.to_dict()
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            if not equals or name not in values:
                raise ValueError(f"{assignment!r} is no name=value with an option of the paper profile.")
            values[name] = _value(name, text, like=values[name])
        return type(self).from_dict(values)


def _value(name: str, text: str, *, like: Any) -> Any:
    """`text` as a value of the kind of `like`; ValueError otherwise."""
    if isinstance(like, str):
        return text
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = None
    if isinstance(like, float) and type(value) is int:
        return float(value)
    whole = isinstance(value, list) and all(type(side) is int for side in value)
    if not (whole if isinstance(like, tuple) else type(value) is type(like)):
        kind = "a list of whole numbers" if isinstance(like, tuple) else f"a value like {json.dumps(like)}"
        raise ValueError(f"{name} needs {kind}, not {text!r}.")
    return value
