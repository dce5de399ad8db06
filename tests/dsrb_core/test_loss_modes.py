"""The loss modes for unknown cells and the asymmetric focus."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsrb_core.config import DSRBConfig, TrainConfig
from dsrb_core.labels import hide_labels
from dsrb_core.losses import Criterion, Supervised, partial_bce, supervise_unknown
from dsrb_core.pooled_head import fit_head, loss_mode
from dsrb_core.trainer import fit
from tests.references import localised, naive_bce

LABELS = torch.tensor([[1, 0, -1, 0], [0, 0, 0, 1], [-1, -1, 1, 1]], dtype=torch.int8)
LOGITS = torch.tensor([[2.0, -1.0, 0.5, -3.0], [-0.5, -4.0, -2.0, 1.0], [0.0, 1.0, 2.0, -1.0]])


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"unknown": "negative"}, "unknown"),
        ({"unknown_weight": 1.5}, "unknown_weight"),
        ({"selective_top": -1}, "selective_top"),
        ({"selective_prior": float("nan")}, "selective_prior"),
        ({"focus_negative": -1.0}, "focus_negative"),
        ({"focus_positive": -0.1}, "focus_positive"),
    ],
)
def test_impossible_loss_option_is_refused_by_name(options: dict[str, object], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        DSRBConfig(**options)


def test_ignore_is_the_default_and_changes_nothing() -> None:
    targets, weights = supervise_unknown(LOGITS, LABELS, DSRBConfig())
    assert targets is LABELS
    assert weights is None


def test_weak_negative_counts_every_unknown_cell_a_little() -> None:
    config = DSRBConfig(unknown="weak-negative", unknown_weight=0.2)
    targets, weights = supervise_unknown(LOGITS, LABELS, config)
    assert weights is not None
    assert torch.equal(targets, torch.where(LABELS == 0, -1, LABELS))
    assert torch.equal(weights, torch.where(LABELS == 0, 0.2, 1.0))
    known = [math.log1p(math.exp(-s * x)) for s, x in cells(LABELS != 0)]
    unknown = [math.log1p(math.exp(x)) for _, x in cells(LABELS == 0)]
    expected = (sum(known) + 0.2 * sum(unknown)) / (len(known) + 0.2 * len(unknown))
    assert float(partial_bce(LOGITS, targets, weights)) == pytest.approx(expected, abs=1e-6)


def cells(mask: torch.Tensor) -> list[tuple[int, float]]:
    return list(zip(LABELS[mask].tolist(), LOGITS[mask].tolist(), strict=True))


def test_selective_leaves_out_the_likely_unknown_cells_of_each_image() -> None:
    config = DSRBConfig(unknown="selective", selective_top=1, selective_prior=1.0)
    targets, _ = supervise_unknown(LOGITS, LABELS, config)
    assert targets.tolist() == [[1, 0, -1, -1], [0, -1, -1, 1], [-1, -1, 1, 1]]


def test_selective_leaves_out_categories_that_are_frequent_by_prediction() -> None:
    config = DSRBConfig(unknown="selective", selective_top=0, selective_prior=0.4)
    assert (torch.sigmoid(LOGITS).mean(0) <= 0.4).tolist() == [False, True, False, True]
    targets, weights = supervise_unknown(LOGITS, LABELS, config)
    assert targets.tolist() == [[1, -1, -1, -1], [0, -1, 0, 1], [-1, -1, 1, 1]]
    assert weights is not None
    assert bool(((weights > 0) == (targets != 0)).all())


@given(st.integers(0, 200), st.sampled_from(["weak-negative", "selective"]), st.integers(0, 9))
def test_no_mode_ever_changes_a_known_cell_or_makes_a_positive(seed: int, mode: str, top: int) -> None:
    g = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(5, 6, generator=g)
    labels = torch.randint(-1, 2, (5, 6), generator=g, dtype=torch.int8)
    config = DSRBConfig(unknown=mode, selective_top=top, selective_prior=0.6)
    targets, weights = supervise_unknown(logits, labels, config)
    assert weights is not None
    assert torch.equal(targets[labels != 0], labels[labels != 0])
    assert bool((weights[labels != 0] == 1).all())
    assert bool((targets[labels == 0] <= 0).all())
    assert targets.dtype == labels.dtype


@given(st.integers(0, 100))
def test_without_focus_the_loss_is_the_plain_one(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(4, 3, generator=g), torch.randint(-1, 2, (4, 3), generator=g)
    plain = naive_bce(logits, labels, torch.ones(4, 3))
    assert float(partial_bce(logits, labels, focus=(0.0, 0.0))) == pytest.approx(plain, abs=1e-5)


def test_focus_scales_positives_and_negatives_as_the_asymmetric_loss_does() -> None:
    logits, labels = torch.tensor([[1.5, -2.0, 0.3]]), torch.tensor([[1, -1, 0]])
    p, q = (1 / (1 + math.exp(-x)) for x in (1.5, -2.0))
    expected = (-((1 - p) ** 1.0) * math.log(p) - q**3.0 * math.log(1 - q)) / 2
    assert float(partial_bce(logits, labels, focus=(1.0, 3.0))) == pytest.approx(expected, abs=1e-6)


def test_focus_keeps_gradients_finite_for_extreme_and_ignored_logits() -> None:
    logits = torch.tensor([[80.0, -80.0, float("inf"), 90.0]], requires_grad=True)
    partial_bce(logits, torch.tensor([[1, -1, 0, -1]]), focus=(1.0, 4.0)).backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    assert logits.grad[0, 2] == 0
    assert logits.grad[0, 3] > 0


def test_criterion_applies_the_mode_to_the_known_view_only() -> None:
    criterion = Criterion(DSRBConfig(unknown="weak-negative", unknown_weight=0.5))
    views = {
        "known": Supervised(LOGITS, LABELS),
        "instance": Supervised(LOGITS, LABELS, (LABELS != 0).float()),
    }
    made = criterion(views, vectors=torch.zeros(3, 4, 2), labels=LABELS, classifier=torch.zeros(4, 2))
    ignored = partial_bce(LOGITS, LABELS)
    weak = partial_bce(LOGITS, *supervise_unknown(LOGITS, LABELS, criterion.config))
    assert torch.equal(made["instance"], ignored)
    assert torch.equal(made["known"], weak)
    assert not torch.isclose(weak, ignored)


def test_named_modes() -> None:
    assert loss_mode("ignore") == DSRBConfig()
    assert loss_mode("weak-negative").unknown == "weak-negative"
    assert loss_mode("selective").focus_negative > loss_mode("selective").focus_positive
    with pytest.raises(ValueError, match="unknown must be one of"):
        loss_mode("drop")


def test_with_clicked_positives_only_a_weak_negative_head_still_ranks() -> None:
    """Ignoring the unknown cells leaves nothing to push against: every logit only grows."""
    source, complete, _ = localised(240, categories=3, dim=8, side=1, seed=3)
    labels = np.where(hide_labels(complete, 0.5) > 0, 1, 0).astype(np.int8)
    features = torch.from_numpy(source.pooled())
    training = TrainConfig(epochs=6, learning_rate=1e-2)

    def logit(mode: str, sign: int) -> float:
        head = fit_head(features, labels, config=loss_mode(mode), training=training)
        with torch.inference_mode():
            return float(head(features)[torch.from_numpy(complete == sign)].mean())

    assert logit("ignore", -1) > 0
    assert logit("weak-negative", -1) < logit("ignore", -1) - 1
    assert logit("weak-negative", 1) > logit("weak-negative", -1) + 2


def test_dsrb_learns_in_every_mode() -> None:
    source, complete, _ = localised(60, categories=3, dim=8, side=2)
    labels = hide_labels(complete, 0.6)
    training = TrainConfig(epochs=2, blend_from=1, floor_l2=(0.3,))
    found = {}
    small = {"dim": 8, "attention_dim": 4, "graph_dim": 4, "hidden": 6, "selective_top": 1}
    for mode in ("ignore", "weak-negative", "selective"):
        config = DSRBConfig.from_dict(small | {"unknown": mode, "focus_negative": 1.0})
        history = fit(source, labels, config=config, training=training).history
        found[mode] = next(one.losses["known"] for one in history if one.stage == "checking")
    assert len(set(found.values())) == 3
    assert all(math.isfinite(value) for value in found.values())
