"""What can be chosen, frozen and validated when it is made; saved with every checkpoint."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args, get_origin


def check_choices(options: object) -> None:
    """ValueError when a field annotated with `Literal` holds something else."""
    for field in fields(options):  # type: ignore[arg-type]
        value, kind = getattr(options, field.name), field.type
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise ValueError(
                f"{field.name} must be one of {', '.join(map(str, get_args(kind)))}, not {value!r}."
            )


def check_range(options: object, low: float, names: tuple[str, ...], *, high: float = float("inf")) -> None:
    """ValueError naming the field when one of `names` lies outside [low, high] (or is NaN)."""
    for name in names:
        value = getattr(options, name)
        if not low <= value <= high:
            raise ValueError(f"{name} must lie between {low:g} and {high:g}, not {value}.")


class Jsonable:
    """A frozen dataclass that goes to a plain dict and back."""

    def to_dict(self) -> dict[str, Any]:
        """The options as JSON-ready values."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Options from `to_dict`; ValueError when a name is not known here."""
        known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"{cls.__name__} has no option named {unknown[0]!r}.")
        return cls(
            **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        )


@dataclass(frozen=True, kw_only=True)
class DSRBConfig(Jsonable):
    """The model and the method. ValueError at construction when a value cannot work."""

    dim: int = 128  # D: tokens are projected onto so many principal directions of the pooled features
    attention_dim: int = 32  # rank of the folded bilinear attention (512 in the paper; cost is linear in it)
    attention_start: float = 0.5  # spread of the first attention logits; 0 = mean pooling
    graph: bool = False  # costs accuracy where labels are few (docs/results.md)
    graph_dim: int = 32  # width of a node; equal to dim = the published form, no projection before the graph
    graph_steps: int = 2
    graph_shrinkage: float = 5.0  # observations an edge needs to count half
    graph_limit: int = 1000  # above so many categories the dense graph is left out
    hidden: int = 64  # width of o_c
    prototypes: Literal["quadrants", "mean", "kmeans"] = "quadrants"
    cells: int = 2  # side of the grid of `quadrants`
    clusters: int = 10  # K of `kmeans`
    partner: Literal["reversal", "permutation", "class_aware"] = "class_aware"
    blending: Literal["vectors", "tokens"] = "vectors"  # what instances exchange (method.md 7.4)
    exchanged_share: float = 0.25  # share of the locations that `tokens` takes from the partner
    weight: Literal["fixed", "beta", "learnable"] = "fixed"
    weight_start: float = 0.5  # lambda of `fixed`, first lambda of `learnable`
    beta: float = 2.0  # lambda ~ Beta(beta, beta)
    targets: Literal["soft", "weighted"] = "weighted"
    detach_targets: bool = True  # the gradient through the target rewards "no blending" (method.md 3.4)
    top_k: int = 1  # categories blended with a prototype, per image
    instance_weight: float = 1.0
    prototype_weight: float = 1.0
    contrastive_weight: float = 0.0  # 0.05 in the paper; costs accuracy here (docs/results.md)
    negative_pairs: bool = False  # (-,-) pairs in the contrastive loss, as the released code has them
    l2: float = 0.03  # on the residual classifier, per category
    unknown: Literal["ignore", "weak-negative", "selective"] = "ignore"  # see losses.supervise_unknown
    unknown_weight: float = 0.1  # of an unknown cell that is taken for a negative
    selective_top: int = 5  # most likely unknown cells of an image that `selective` leaves out
    selective_prior: float = 0.3  # `selective` leaves out categories that are more frequent than this
    focus_positive: float = 0.0  # gamma+ of the asymmetric loss
    focus_negative: float = 0.0  # gamma- of the asymmetric loss

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, 1, ("dim", "attention_dim", "graph_dim", "hidden", "cells", "clusters", "top_k"))
        check_range(self, 0, ("attention_start", "graph_steps", "graph_shrinkage", "graph_limit"))
        check_range(self, 0, ("instance_weight", "prototype_weight", "contrastive_weight", "l2"))
        check_range(self, 0, ("selective_top", "focus_positive", "focus_negative"))
        check_range(self, 0.0, ("weight_start", "unknown_weight", "selective_prior"), high=1.0)
        check_range(self, 0.0, ("exchanged_share",), high=1.0)
        check_range(self, 1e-3, ("beta",))
        if self.weight == "learnable" and not 0.0 < self.weight_start < 1.0:
            raise ValueError(
                f"weight_start of a learnable weight must lie inside (0, 1), not {self.weight_start}."
            )

    @property
    def prototypes_per_category(self) -> int:
        """K of the prototype bank."""
        return {"quadrants": self.cells**2, "mean": 1, "kmeans": self.clusters}[self.prototypes]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Jsonable):
    """How a run learns. ValueError at construction when a value cannot work."""

    epochs: int = 10  # most epochs of the residual; the held-out cells decide how many are kept
    batch_size: int = 64  # images; smaller by itself where there are very many categories
    batch_cells: int = 65_536  # most cells (images x categories) in a batch
    learning_rate: float = 2e-3
    blend_from: int = 2  # first epoch (0-based) of the two blended losses
    prototypes_every: int = 3  # epochs between two prototype passes
    patience: int = 3  # epochs without a better held-out mAP before the check stops
    heldout: float = 0.2  # share of the known cells of a category kept for the check
    gates: tuple[float, ...] = (0.25, 0.5, 1.0)  # tried on the held-out cells, beside 0
    gate_margin: float = 0.003  # held-out mAP the residual has to add; also at least two standard errors
    learn_silent: bool = False  # learn the residual to its end although its gate is 0 (to look at it)
    floor_l2: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
    floor_folds: int = 3
    seed: int = 0
    device: str = "cpu"
    amp: bool = False  # mixed precision in the residual; losses stay in float32
    memory_bytes: int = 2 * 2**30  # projected tokens are kept in memory up to this size

    def __post_init__(self) -> None:
        check_range(self, 1, ("epochs", "batch_size", "batch_cells", "prototypes_every", "patience"))
        check_range(self, 0, ("blend_from", "gate_margin", "memory_bytes", "seed"))
        check_range(self, 1e-12, ("learning_rate",))
        check_range(self, 0.0, ("heldout",), high=0.5)
        check_range(self, 2, ("floor_folds",))
        if not self.floor_l2 or min(self.floor_l2) <= 0:
            raise ValueError(f"floor_l2 needs at least one value, all above 0, not {self.floor_l2}.")
        if any(not 0 < gate <= 1 for gate in self.gates):
            raise ValueError(f"gates must lie in (0, 1], not {self.gates}.")
