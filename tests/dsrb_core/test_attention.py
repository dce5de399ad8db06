"""Semantic attention: the folded form, its start, its memory."""

import pytest
import torch

from dsrb_core.attention import SemanticAttention, _Scores
from tests.references import naive_attention


def make(*, words: torch.Tensor | None = None, **options: int) -> SemanticAttention:
    torch.manual_seed(0)
    return SemanticAttention(6, 5, rank=4, words=words, **options)


def test_attention_is_a_distribution_over_locations_and_vectors_are_per_category() -> None:
    vectors, attention = make()(torch.randn(3, 7, 6))
    assert vectors.shape == (3, 5, 6)
    assert attention.shape == (3, 5, 7)
    assert bool((attention >= 0).all())
    assert torch.allclose(attention.sum(-1), torch.ones(3, 5))


def test_folded_form_equals_the_published_four_layers() -> None:
    torch.manual_seed(1)
    words, tokens = torch.randn(5, 3), torch.randn(2, 7, 6)
    published = {"fc1": torch.randn(4, 6), "fc2": torch.randn(4, 3), "fc3": torch.randn(8, 4)}
    published |= {"fc3_bias": torch.randn(8), "fc4": torch.randn(1, 8), "fc4_bias": torch.randn(1)}
    folded = make(words=words)
    with torch.no_grad():
        folded.token_map.weight.copy_(published["fc1"])
        folded.category_map.copy_(published["fc2"].T)
        folded.mix.copy_(published["fc3"].T @ published["fc4"][0])
    vectors, attention = folded(tokens)
    expected, weights = naive_attention(tokens, words, published)
    assert torch.allclose(vectors, expected, atol=1e-5)
    assert torch.allclose(attention, weights.transpose(1, 2), atol=1e-5)


def test_fresh_attention_is_near_uniform() -> None:
    tokens = torch.randn(2, 10, 6)
    with torch.no_grad():
        vectors, attention = make()(tokens)
    assert float(attention.max()) < 0.15
    assert torch.allclose(vectors, tokens.mean(1, keepdim=True).expand_as(vectors), atol=0.1)


def test_chunks_change_neither_values_nor_gradients() -> None:
    tokens = torch.randn(2, 7, 6, requires_grad=True)
    results = []
    for elements in (2 * 7 * 4, 2**30):
        module = make(chunk_elements=elements)
        vectors, _ = module(tokens)
        grads = torch.autograd.grad(vectors.square().sum(), [tokens, *module.parameters()])
        results.append([vectors.detach(), *grads])
    for chunked, whole in zip(*results, strict=True):
        assert torch.allclose(chunked, whole, atol=1e-6)


def test_no_image_gives_no_vector() -> None:
    vectors, attention = make()(torch.zeros(0, 7, 6))
    assert (vectors.shape, attention.shape) == ((0, 5, 6), (0, 5, 7))


def test_hand_written_gradient_is_the_numeric_one() -> None:
    u, v, p = torch.randn(6, 4), torch.randn(5, 4), torch.randn(4)
    inputs = [x.double().requires_grad_() for x in (u, v, p)]
    assert torch.autograd.gradcheck(lambda *x: _Scores.apply(*x, 2), inputs)


def test_leaning_towards_a_linear_model_looks_where_that_model_finds_the_category() -> None:
    torch.manual_seed(2)
    tokens, weights = torch.randn(4, 50, 6), torch.randn(5, 6)
    weights[3] = 0
    module = make()
    module.lean_towards(weights, tokens, spread=0.5)
    scores, linear = module.scores(tokens).detach(), (tokens @ weights.T).transpose(1, 2)
    for category in (0, 1, 2, 4):
        together = torch.corrcoef(torch.stack([scores[:, category].flatten(), linear[:, category].flatten()]))
        assert float(together[0, 1]) > 0.7
        assert 0.2 < float(scores[:, category].std()) < 0.8
    assert float(scores[:, 3].std()) < 0.1


def test_leaning_with_given_words_moves_only_the_map_from_words() -> None:
    torch.manual_seed(2)
    words = torch.randn(5, 8)
    module = make(words=words)
    module.lean_towards(torch.randn(5, 6), torch.randn(4, 9, 6), spread=0.5)
    assert torch.equal(module.words, words)
    assert bool(torch.isfinite(module.category_vectors()).all())


def test_words_of_another_number_of_categories_are_refused() -> None:
    with pytest.raises(ValueError, match="words must have the shape"):
        make(words=torch.zeros(4, 3))


def test_a_fresh_row_leans_in_the_map_that_is_learnt_and_the_others_stay() -> None:
    torch.manual_seed(3)
    attention = SemanticAttention(12, 3, rank=16)
    weights, tokens = torch.randn(3, 12), torch.randn(30, 9, 12)
    with torch.no_grad():
        attention.category_map[1] = 0.0
    before = attention.category_map.detach().clone()
    attention.lean_fresh_rows(weights, tokens, spread=0.5)
    assert torch.equal(attention.category_map[[0, 2]], before[[0, 2]])
    looked = attention(tokens)[1][:, 1].detach()
    own = torch.softmax(tokens @ weights[1], dim=1)
    agree = torch.corrcoef(torch.stack([looked.flatten(), own.flatten()]))[0, 1]
    assert float(agree) > 0.4, "where it was zero it looked everywhere alike"
    fixed = attention.category_map.detach().clone()
    attention.lean_fresh_rows(weights, tokens, spread=0.5)
    assert torch.equal(attention.category_map, fixed), "a row that has learnt is no fresh one"
