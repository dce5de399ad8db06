"""Categories as rows: added, archived and moved ones leave the rest of the head as it was."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from dsrb_core.config import DSRBConfig, TrainConfig
from dsrb_core.labels import hide_labels
from dsrb_core.metrics import average_precision
from dsrb_core.model import DSRB, ModelOutput
from dsrb_core.predictor import predict
from dsrb_core.trainer import fit
from tests.references import localised

WORDS = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
MAPS = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(2))
CHANGES: dict[str, list[int | None]] = {
    "added at the end": [0, 1, 2, 3, None],
    "added in the middle": [0, 1, None, 2, 3],
    "archived": [0, 1, 3],
    "reordered": [3, 1, 0, 2],
    "renamed": [0, 1, 2, 3],
    "all at once": [3, None, 0],
}
ROUNDING = {"rtol": 1e-6, "atol": 1e-6}  # a matrix product of another width may end in another last bit


def trained(*, graph: bool = False, words: torch.Tensor | None = None, limit: int = 1000) -> DSRB:
    torch.manual_seed(0)
    config = DSRBConfig(dim=6, attention_dim=4, graph_dim=3, hidden=5, graph=graph, graph_limit=limit)
    model = DSRB(features=8, grid=(2, 3), categories=4, config=config, words=words)
    model.frame.measure(torch.randn(30, 8))
    with torch.no_grad():
        for tensor in (model.floor_weight, model.floor_bias, model.class_weight, model.class_bias):
            tensor.normal_()
        model.bank.vectors.normal_()
        model.bank.counts.copy_(torch.arange(16).view(4, 4) + 1)
        model.map_spread.uniform_(0.5, 2.0)
    model.gate.fill_(0.7)
    return model.eval()


def moved(model: DSRB, columns: Sequence[int | None]) -> DSRB:
    given = model.attention.words is not None
    return model.for_columns(
        columns, words=WORDS[4:].expand(columns.count(None), 3) if given else None
    ).eval()


def kept(columns: Sequence[int | None]) -> tuple[list[int], list[int]]:
    pairs = [(place, column) for place, column in enumerate(columns) if column is not None]
    return [place for place, _ in pairs], [column for _, column in pairs]


def scores(model: DSRB, maps: torch.Tensor = MAPS) -> tuple[ModelOutput, torch.Tensor]:
    with torch.inference_mode():
        output = model(maps)
        return output, model.residual(output.vectors)


@pytest.mark.parametrize("words", [None, WORDS[:4]], ids=["learned", "given"])
@pytest.mark.parametrize("columns", CHANGES.values(), ids=CHANGES)
def test_a_category_that_stays_keeps_every_value_to_the_bit(
    columns: list[int | None], words: torch.Tensor | None
) -> None:
    model = trained(words=words)
    after, (new, old) = moved(model, columns), kept(columns)
    there, own = after.state_dict(), {"attention.words"} if words is not None else {"attention.category_map"}
    own |= {"floor_weight", "floor_bias", "map_spread", "class_weight", "class_bias"}
    own |= {"bank.vectors", "bank.counts"}
    for name, value in model.state_dict().items():
        if name in own:
            assert torch.equal(there[name][new], value[old]), name
        else:
            assert torch.equal(there[name], value), name
    assert torch.equal(after.attention.category_vectors()[new], model.attention.category_vectors()[old])


@pytest.mark.parametrize("words", [None, WORDS[:4]], ids=["learned", "given"])
@pytest.mark.parametrize("columns", CHANGES.values(), ids=CHANGES)
def test_floor_residual_and_logits_of_those_that_stay_do_not_change(
    columns: list[int | None], words: torch.Tensor | None
) -> None:
    model = trained(words=words)
    after, (new, old) = moved(model, columns), kept(columns)
    (before, residual), (output, residual_after) = scores(model), scores(after)
    assert float((before.logits - before.floor).abs().min()) > 1e-3, "the residual must speak"
    for one, other in [
        (before.floor, output.floor),
        (residual, residual_after),
        (before.logits, output.logits),
        (before.vectors, output.vectors),
        (before.attention, output.attention),
    ]:
        assert torch.allclose(one[:, old], other[:, new], **ROUNDING)


def test_alone_a_category_is_scored_to_the_bit_as_before() -> None:
    model = trained()
    after = model.for_columns([3, None, 0])
    for place, column in ((0, 3), (2, 0)):  # one column each: the products have the same shape
        before, again = scores(model.for_columns([column])), scores(after.for_columns([place]))
        assert torch.equal(before[0].floor, again[0].floor)
        assert torch.equal(before[0].logits, again[0].logits)
        assert torch.equal(before[1], again[1])


def test_a_fresh_category_says_nothing_and_has_no_prototypes() -> None:
    after = trained().for_columns([0, None]).eval()
    output, residual = scores(after)
    assert not output.logits[:, 1].any() and not residual[:, 1].any()
    assert after.bank.available.tolist() == [True, False]
    assert not after.bank.vectors[1].any()


def with_edges(edges: torch.Tensor) -> DSRB:
    model = trained(graph=True)
    assert model.graph is not None
    model.graph.adjacency.copy_(edges)
    return model


def test_with_the_graph_a_fresh_category_has_no_edge_and_changes_nothing() -> None:
    model = with_edges(torch.rand(4, 4, generator=torch.Generator().manual_seed(3)))
    after = model.for_columns([0, 1, None, 2, 3]).eval()
    assert after.graph is not None
    assert after.graph.adjacency[2].tolist() == after.graph.adjacency[:, 2].tolist() == [0, 0, 1, 0, 0]
    before, again = scores(model)[0].logits, scores(after)[0].logits[:, [0, 1, 3, 4]]
    assert torch.allclose(before, again, **ROUNDING)


def test_with_the_graph_only_neighbours_feel_that_a_category_is_archived() -> None:
    edges = torch.eye(4)
    edges[0, 3] = 0.8  # 0 and 3 appear together; 1 and 2 keep to themselves
    model = with_edges(edges)
    before, after = scores(model)[0].logits, scores(model.for_columns([0, 1, 2]).eval())[0].logits
    assert torch.allclose(before[:, 1:3], after[:, 1:3], **ROUNDING)
    assert float((before[:, 0] - after[:, 0]).abs().min()) > 1e-4
    alone = with_edges(torch.eye(4))
    before, after = scores(alone)[0].logits, scores(alone.for_columns([0, 1, 2]).eval())[0].logits
    assert torch.allclose(before[:, :3], after, **ROUNDING)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("words", [None, WORDS[:4]], ids=["learned", "given"])
def test_adding_and_archiving_again_gives_the_same_model(graph: bool, words: torch.Tensor | None) -> None:
    model = trained(graph=graph, words=words)
    back = moved(model, [0, None, 1, 2, 3]).for_columns([0, 2, 3, 4]).eval()
    there = back.state_dict()
    assert all(torch.equal(there[name], value) for name, value in model.state_dict().items())
    assert torch.equal(back(MAPS).logits, model(MAPS).logits)


def test_a_fresh_category_looks_everywhere_alike_and_moves_no_random_state() -> None:
    model, before = trained(), torch.get_rng_state()
    after = model.for_columns([0, None]).eval()
    assert torch.equal(before, torch.get_rng_state())
    assert torch.allclose(scores(after)[0].attention[:, 1], torch.full((3, 6), 1 / 6))
    after(MAPS).attention[:, 1, 0].sum().backward()
    assert after.attention.category_map.grad is not None
    assert float(after.attention.category_map.grad[1].abs().max()) > 0, "it can learn where to look"


def test_a_new_category_brings_its_own_given_vector() -> None:
    model = trained(words=WORDS[:4])
    words = model.for_columns([1, None, 0], words=WORDS[4:]).attention.words
    assert words is not None and torch.equal(words, WORDS[[1, 4, 0]])


@pytest.mark.parametrize("words", [None, torch.zeros(2, 3), torch.zeros(1, 4)])
def test_given_vectors_cannot_be_invented(words: torch.Tensor | None) -> None:
    with pytest.raises(ValueError, match=r"those of its 1 new categories, \(1, 3\), not"):
        trained(words=WORDS[:4]).for_columns([0, None], words=words)


def test_what_cannot_be_moved_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="learns its category vectors"):
        trained().for_columns([0, None], words=WORDS[:1])
    with pytest.raises(ValueError, match="no column 4"):
        trained().for_columns([4])
    with pytest.raises(ValueError, match="4 categories cannot go on with 5"):
        trained(graph=True, limit=4).for_columns([0, 1, 2, 3, None])


@pytest.mark.parametrize("given", [False, True])
def test_learning_on_after_a_category_was_added_keeps_the_others_as_good(given: bool) -> None:
    source, complete, _ = localised(240, seed=0)
    asked, truth, _ = localised(300, seed=1)
    labels = hide_labels(complete, 0.5)
    words = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32) if given else None
    options: dict[str, Any] = {
        "config": DSRBConfig(dim=24),
        "training": TrainConfig(epochs=8, learning_rate=5e-3, floor_l2=(0.1, 0.3)),
    }

    def quality(model: DSRB) -> np.ndarray:
        logits = np.concatenate([part.logits for part in predict(model, asked)])
        return average_precision(logits, truth[:, : model.categories])

    first = fit(source, labels[:, :3], category_vectors=None if words is None else words[:3], **options)
    start = first.model.for_columns(
        [0, 1, 2, None], words=None if words is None else torch.from_numpy(words[3:])
    )
    second = fit(source, labels, category_vectors=words, warm_start=start, **options)
    before, after = quality(first.model), quality(second.model)
    assert float(first.model.gate) > 0 and before.min() > 0.7
    assert (after[:3] > before - 0.03).all(), (before, after)
    if not given:  # these vectors say nothing, so they may send a new category anywhere
        assert after[3] > 0.9, "the new one learns to look as well"
