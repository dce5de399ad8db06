"""Blending of locations before the softmax: what it may change, and how it differs from the vector form."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsrb_core.attention import SemanticAttention
from dsrb_core.blending import Blend, instance_blend
from dsrb_core.token_blending import token_blend

DIM, PLACES = 5, 6


def attention(categories: int) -> SemanticAttention:
    torch.manual_seed(3)
    made = SemanticAttention(DIM, categories, rank=4)
    with torch.no_grad():
        made.category_map.normal_(0, 2)
        made.mix.normal_(0, 2)
    return made


class Batch:
    """Tokens with labels, blended on vectors and on locations."""

    def __init__(self, labels: torch.Tensor, *, seed: int = 0) -> None:
        self.labels = labels
        self.partner = torch.arange(len(labels) - 1, -1, -1)
        self.attention = attention(labels.shape[1])
        generator = torch.Generator().manual_seed(seed)
        self.tokens = torch.randn(len(labels), PLACES, DIM, generator=generator)
        with torch.no_grad():
            self.scores = self.attention.scores(self.tokens)
        self.f = torch.softmax(self.scores, -1) @ self.tokens

    def vectors(self, f: torch.Tensor | None = None) -> Blend:
        f = self.f if f is None else f
        return instance_blend(f, self.labels, partner=self.partner, keep=torch.tensor(0.5))

    def locations(self, exchanged: int) -> Blend:
        return token_blend(
            self.vectors(),
            tokens=self.tokens,
            scores=self.scores,
            partner=self.partner,
            exchanged=exchanged,
        )


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    batch, categories = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    cells = draw(
        st.lists(st.sampled_from([-1, 0, 1]), min_size=batch * categories, max_size=batch * categories)
    )
    return Batch(torch.tensor(cells, dtype=torch.int8).view(batch, categories), seed=draw(st.integers(0, 99)))


@given(batches(), st.integers(0, PLACES))
def test_known_cells_and_cells_without_a_donor_never_change(batch: Batch, exchanged: int) -> None:
    blend = batch.locations(exchanged)
    receives = (batch.labels == 0) & (batch.labels[batch.partner] == 1)
    assert torch.equal(blend.vectors[~receives], batch.f[~receives])
    assert torch.equal(blend.targets[~receives], batch.labels[~receives].float())
    assert torch.equal(blend.mask, receives)


@given(batches(), st.integers(0, PLACES))
def test_cells_targets_and_weights_are_those_of_the_vector_form(batch: Batch, exchanged: int) -> None:
    vectors, locations = batch.vectors(), batch.locations(exchanged)
    assert torch.equal(locations.mask, vectors.mask)
    assert torch.equal(locations.targets, vectors.targets)
    assert torch.equal(locations.weights, vectors.weights)


@given(batches(), st.integers(0, PLACES))
def test_a_blended_vector_is_the_attention_run_again_on_the_mixed_picture(
    batch: Batch, exchanged: int
) -> None:
    blend = batch.locations(exchanged)
    for i, c in blend.mask.nonzero().tolist():
        j = int(batch.partner[i])
        picture = batch.tokens[i].clone()
        weakest = batch.scores[i, c].argsort()[:exchanged]
        strongest = batch.scores[j, c].argsort(descending=True)[:exchanged]
        picture[weakest] = batch.tokens[j, strongest]
        with torch.no_grad():
            again, _ = batch.attention(picture.unsqueeze(0))
        assert torch.allclose(blend.vectors[i, c], again[0, c], atol=1e-5)


@given(batches())
def test_exchanging_nothing_gives_the_receiver_and_everything_the_donor(batch: Batch) -> None:
    mask = batch.vectors().mask
    assert torch.allclose(batch.locations(0).vectors, batch.f, atol=1e-6)
    donors = batch.f[batch.partner]
    assert torch.allclose(batch.locations(PLACES).vectors[mask], donors[mask], atol=1e-6)


def test_without_any_donor_the_blend_is_handed_back() -> None:
    batch = Batch(torch.tensor([[0, -1], [0, 0]], dtype=torch.int8))
    assert torch.equal(batch.locations(3).vectors, batch.f)


def blending() -> Batch:
    return Batch(torch.tensor([[0, 1, 0], [0, 0, -1], [1, 0, 0], [1, 0, 1]], dtype=torch.int8))


def test_mixed_locations_differ_from_mixed_vectors_and_from_every_mix_of_the_two() -> None:
    batch = blending()
    vectors, locations = batch.vectors(), batch.locations(3)
    assert int(locations.mask.sum()) >= 3
    for i, c in locations.mask.nonzero().tolist():
        own, other = batch.f[i, c], batch.f[int(batch.partner[i]), c]
        line = torch.stack([own, other], dim=1)
        best = torch.linalg.lstsq(line, locations.vectors[i, c].unsqueeze(1)).solution
        assert float((line @ best - locations.vectors[i, c].unsqueeze(1)).norm()) > 1e-3
        assert not torch.allclose(locations.vectors[i, c], vectors.vectors[i, c], atol=1e-3)


def test_a_location_nobody_looks_at_can_change_hands_without_a_trace() -> None:
    batch = blending()
    before = batch.locations(2).vectors
    i, c = batch.locations(2).mask.nonzero()[0].tolist()
    weakest = int(batch.scores[i, c].argmin())
    batch.tokens[i, weakest] += 100.0  # its seat is the donor's, in this cell
    assert torch.allclose(batch.locations(2).vectors[i, c], before[i, c], atol=1e-6)


def test_both_pictures_and_their_scores_receive_a_gradient() -> None:
    batch = blending()
    batch.tokens.requires_grad_()
    batch.scores.requires_grad_()
    blend = batch.locations(2)
    cells = blend.mask.nonzero()
    i, c = cells[0].tolist()
    blend.vectors[i, c].square().sum().backward()
    for image in (i, int(batch.partner[i])):
        assert float(batch.tokens.grad[image].abs().sum()) > 0
        assert float(batch.scores.grad[image, c].abs().sum()) > 0


def test_further_channels_of_a_vector_keep_what_the_vector_form_gave_them() -> None:
    batch = blending()
    extra = torch.arange(batch.labels.numel(), dtype=torch.float32).view(*batch.labels.shape, 1)
    wide = batch.vectors(torch.cat([batch.f, extra], dim=-1))
    found = token_blend(
        wide, tokens=batch.tokens, scores=batch.scores, partner=batch.partner, exchanged=2
    ).vectors
    assert torch.equal(found[..., DIM:], wide.vectors[..., DIM:])
    assert torch.allclose(found[..., :DIM], batch.locations(2).vectors)


@pytest.mark.parametrize("exchanged", [-1, PLACES + 1])
def test_more_locations_than_there_are_cannot_be_exchanged(exchanged: int) -> None:
    with pytest.raises(ValueError, match="exchanged must lie between 0 and the 6 locations"):
        blending().locations(exchanged)
