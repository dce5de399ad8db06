"""Every method behind the one interface, and the parts the baselines are made of."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsrb_core.config import DSRBConfig, TrainConfig
from dsrb_core.frame import Frame
from dsrb_core.labels import hide_labels
from dsrb_core.losses import Supervised, partial_bce
from dsrb_core.method import Subset
from dsrb_core.methods import ABLATIONS, METHODS, method
from dsrb_core.metrics import mean_average_precision
from dsrb_core.model import DSRB
from dsrb_core.neighbour_vote import NeighbourVote
from dsrb_core.pooled_head import fit_head, loss_mode
from dsrb_core.residual_methods import ResidualMethod, SARBStages, SharedIndexBank
from dsrb_core.sst import PairLogits, PositiveQueue, SSTLearner, threshold, with_guesses
from dsrb_core.tokens import TokenStore
from tests.references import ArraySource, localised

QUICK = TrainConfig(epochs=4, learning_rate=5e-3, blend_from=1, prototypes_every=2, floor_l2=(0.1, 1.0))
TRAIN, TEST = np.arange(0, 200), np.arange(205, 300)


@pytest.fixture(scope="module")
def problem() -> tuple[ArraySource, np.ndarray, np.ndarray]:
    """Source, complete labels, partial labels of the train rows alone."""
    source, complete, _ = localised(300, categories=4, dim=16, side=3)
    partial = np.zeros_like(complete)
    partial[TRAIN] = hide_labels(complete[TRAIN], 0.6)
    return source, complete, partial


def test_the_registry_names_what_was_promised() -> None:
    promised = {"linear", "knn", "partial-bce", "weak-negative", "selective", "csrl", "sst", "sarb", "dsrb"}
    assert set(METHODS) == promised | {
        "dsrb-paper-head",
        "linear+neighbours",
        "linear+propagation",
        "dsrb+neighbours",
        "assistant",
        "linear+context",
        "assistant+context",
        *ABLATIONS,
    }
    assert len(ABLATIONS) == len(set(ABLATIONS)) == 9
    assert all(name == one.name and one.about for name, one in METHODS.items())
    with pytest.raises(ValueError, match="no method 'ssgrl'; there are linear, knn"):
        method("ssgrl")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_ranks_unseen_images_and_reads_nothing_but_known_training_cells(
    name: str, problem: tuple[ArraySource, np.ndarray, np.ndarray]
) -> None:
    source, complete, partial = problem
    scores = method(name).fit_predict(source, partial, TRAIN, TEST, seed=0, training=QUICK)
    assert scores.shape == complete.shape
    assert np.isnan(scores[200:205]).all()
    assert np.isfinite(scores[TRAIN]).all()
    assert mean_average_precision(scores[TEST], complete[TEST]) > 0.45  # chance is 0.2
    poisoned = partial.copy()
    poisoned[200:] = -complete[200:]
    maps = source.maps.copy()
    maps[200:205] = 100.0
    again = method(name).fit_predict(
        ArraySource(maps, source.grid), poisoned, TRAIN, TEST, seed=0, training=QUICK
    )
    assert np.array_equal(again, scores, equal_nan=True)


@pytest.mark.parametrize("name", ["linear", "partial-bce", "csrl", "sst", "sarb", "linear+context"])
def test_test_pictures_have_no_part_in_learning(
    name: str, problem: tuple[ArraySource, np.ndarray, np.ndarray]
) -> None:
    source, _, partial = problem
    scores = method(name).fit_predict(source, partial, TRAIN, TEST, seed=1, training=QUICK)
    fewer = method(name).fit_predict(source, partial, TRAIN, TEST[:3], seed=1, training=QUICK)
    assert np.allclose(fewer[TRAIN], scores[TRAIN], atol=1e-5)
    assert np.allclose(fewer[TEST[:3]], scores[TEST[:3]], atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_one_category_with_one_positive_is_enough(name: str) -> None:
    source, _, _ = localised(12, categories=1, dim=6, side=2)
    labels = np.array([[1], [-1], [-1], [0]] * 3, dtype=np.int8)
    labels[4:, 0] = np.minimum(labels[4:, 0], 0)
    rows = np.arange(10)
    scores = method(name).fit_predict(source, labels, rows, np.array([10, 11]), seed=0, training=QUICK)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", ["linear", "knn", "partial-bce", "sst", "dsrb"])
def test_nothing_known_is_said_in_a_sentence(name: str) -> None:
    source, complete, _ = localised(12, categories=2, dim=6, side=2)
    rows, test = np.arange(8), np.arange(8, 12)
    with pytest.raises(ValueError, match="no label yet"):
        method(name).fit_predict(source, 0 * complete, rows, test, seed=0, training=QUICK)


def test_the_linear_method_is_the_floor_of_dsrb(problem: tuple[ArraySource, np.ndarray, np.ndarray]) -> None:
    source, _, partial = problem
    one = TrainConfig.from_dict(QUICK.to_dict() | {"floor_l2": (0.3,), "gate_margin": 1.0})
    linear, dsrb = (
        method(name).fit_predict(source, partial, TRAIN, TEST, seed=0, training=one)
        for name in ("linear", "dsrb")
    )
    assert np.allclose(linear[TEST], dsrb[TEST], atol=2e-3)


def test_published_forms_keep_their_residual_whatever_the_check_says(
    problem: tuple[ArraySource, np.ndarray, np.ndarray],
) -> None:
    source, _, partial = problem
    never = TrainConfig.from_dict(QUICK.to_dict() | {"gate_margin": 1.0})
    floor = method("linear").fit_predict(source, partial, TRAIN, TEST, seed=0, training=never)
    for name in ("csrl", "sst", "sarb", "dsrb-paper-head"):
        scores = method(name).fit_predict(source, partial, TRAIN, TEST, seed=0, training=never)
        assert np.abs(scores - floor)[TEST].max() > 0.05, name


def test_published_forms_differ_in_what_they_are_named_after() -> None:
    def options(name: str) -> DSRBConfig:
        chosen = method(name)
        assert isinstance(chosen, ResidualMethod)
        return chosen.config

    assert options("csrl").instance_weight == options("csrl").prototype_weight == 0
    assert options("csrl").contrastive_weight == 0
    assert options("sst").contrastive_weight == 0.05
    assert (options("sarb").prototypes, options("sarb").prototypes_per_category) == ("kmeans", 10)
    paper = options("dsrb-paper-head")
    assert (paper.prototypes, paper.prototypes_per_category, paper.partner) == ("quadrants", 4, "reversal")
    assert (paper.targets, paper.weight, paper.negative_pairs) == ("soft", "learnable", True)
    assert (paper.graph_steps, paper.graph_dim) == (3, paper.dim)
    assert options("dsrb") == DSRBConfig()
    always = {name for name, one in METHODS.items() if isinstance(one, ResidualMethod) and one.gate}
    assert always - set(ABLATIONS) == {"csrl", "sst", "sarb", "dsrb-paper-head"}
    assert set(ABLATIONS) <= always


def test_a_diverged_published_form_is_no_silent_floor() -> None:
    source, complete, _ = localised(30, categories=2, dim=6, side=2)
    wild = TrainConfig.from_dict(QUICK.to_dict() | {"learning_rate": 1e30})
    for name in ("csrl", "sst"):
        with pytest.raises(RuntimeError, match=r"diverged|not finite"):
            method(name).fit_predict(
                source, complete, np.arange(20), np.arange(20, 30), seed=0, training=wild
            )


def test_a_subset_reads_its_rows_of_the_source() -> None:
    source, _, _ = localised(9, categories=2, dim=6, side=2)
    part = Subset(source, np.array([7, 2, 4]))
    assert len(part) == 3
    assert np.array_equal(part.read(np.array([1, 0])), source.maps[[2, 7]])
    assert np.array_equal(part.pooled(), source.pooled()[[7, 2, 4]])


# --- kNN


def naive_vote(train: np.ndarray, labels: np.ndarray, asked: np.ndarray, prior: float, t: float) -> float:
    """Logit for one category and one image, by loops."""
    cosines = [float(asked @ x / np.linalg.norm(asked) / np.linalg.norm(x)) for x in train]
    yes = known = squares = 0.0
    for cosine, label in zip(cosines, labels, strict=True):
        weight = math.exp((cosine - max(cosines)) / t)
        yes += weight * (label > 0)
        known, squares = known + weight * (label != 0), squares + weight**2 * (label != 0)
    votes = known**2 / squares
    p = (votes * yes / known + prior) / (votes + 1)
    return math.log(p / (1 - p))


def test_the_vote_equals_the_loop() -> None:
    rng = np.random.default_rng(0)
    train, asked = rng.standard_normal((30, 5)), rng.standard_normal((4, 5))
    labels = rng.integers(-1, 2, (30, 3)).astype(np.int8)
    vote = NeighbourVote(torch.from_numpy(train), labels)
    found = vote.logits(torch.from_numpy(asked), temperature=0.1)
    for image in range(4):
        for c in range(3):
            expected = naive_vote(train, labels[:, c], asked[image], float(vote.prior[c]), 0.1)
            assert float(found[image, c]) == pytest.approx(expected, abs=1e-3)


def test_nobody_votes_on_themselves_when_the_temperature_is_tuned() -> None:
    """With an own vote the sharpest temperature would always look perfect."""
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((200, 2)) < 0.4, 1, -1).astype(np.int8)
    features = rng.standard_normal((200, 6)) + 0.8 * labels[:, :1]
    vote = NeighbourVote(torch.from_numpy(features), labels)
    assert vote.tune((0.001, 0.3)) == 0.3
    own = vote.logits(torch.from_numpy(features), temperature=0.001).numpy()
    assert mean_average_precision(own, labels) > 0.9  # the vote is worthless otherwise


def test_an_unknown_copy_of_the_asked_image_does_not_silence_the_others() -> None:
    features = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    labels = np.array([[0], [1], [-1]], dtype=np.int8)
    with_copy = NeighbourVote(features, labels).logits(features[:1], temperature=0.01)
    without = NeighbourVote(features[1:], labels[1:]).logits(features[:1], temperature=0.01)
    assert torch.allclose(with_copy, without)
    assert float(with_copy) > 0.5


def test_a_category_nobody_knows_keeps_its_prior() -> None:
    labels = np.array([[1, 0], [-1, 0], [-1, 0]], dtype=np.int8)
    vote = NeighbourVote(torch.eye(3), labels)
    logits = vote.logits(torch.eye(3)[:2], temperature=0.1)
    assert torch.allclose(logits[:, 1], torch.logit(vote.prior[1]).expand(2))
    assert vote.tune() > 0


# --- network on pooled features


def test_the_head_repeats_itself_and_starts_at_the_log_odds() -> None:
    source, complete, _ = localised(80, categories=3, dim=8, side=1)
    features = torch.from_numpy(source.pooled())
    twice = [fit_head(features, complete, config=loss_mode("ignore"), training=QUICK) for _ in range(2)]
    with torch.inference_mode():
        first, second = (head(features) for head in twice)
    assert torch.equal(first, second)
    assert mean_average_precision(first.numpy(), complete) > 0.6
    rare = np.full((80, 1), -1, dtype=np.int8)
    rare[0] = 1
    still = TrainConfig.from_dict(QUICK.to_dict() | {"learning_rate": 1e-9, "epochs": 1})
    head = fit_head(features, rare, config=loss_mode("ignore"), training=still)
    with torch.inference_mode():
        assert float(head(0 * features).mean()) < -2


# --- SARB


def test_sarb_shares_one_prototype_index_in_a_step() -> None:
    bank = SharedIndexBank(3, 10, 2)
    bank.counts[0, :10], bank.counts[1, :4] = 1, 1
    chosen = [bank.choose(None, (5, 3), generator=torch.Generator().manual_seed(s)) for s in range(40)]
    for one in chosen:
        assert one.shape == (5, 3)
        assert len(set(one[:, 0].tolist())) == 1
        assert int(one[0, 1]) == int(one[0, 0]) % 4
        assert int(one[0, 2]) == 0
    assert {int(one[0, 0]) for one in chosen} == set(range(10))


def test_sarb_trains_with_that_bank() -> None:
    source, complete, _ = localised(40, categories=2, dim=6, side=2)
    config = DSRBConfig(dim=4, attention_dim=2, graph_dim=2, hidden=4, prototypes="kmeans", clusters=3)
    nothing = {"warm_start": None, "words": None, "on_epoch": lambda _: None, "should_stop": lambda: False}
    stages = SARBStages(source, complete, config, QUICK, **nothing)
    assert isinstance(stages.start(None).bank, SharedIndexBank)


# --- SST


def test_threshold_follows_the_published_schedule_and_its_shape_in_a_shorter_run() -> None:
    published = [threshold(epoch, 20) for epoch in range(20)]
    assert published[:6] == [0.95] * 6
    assert published[6] == pytest.approx(0.925)
    assert published[13:] == [0.75] * 7
    assert [threshold(epoch, 10) for epoch in (0, 2, 3, 9)] == pytest.approx([0.95, 0.95, 0.925, 0.75])


def naive_pairs(branch: PairLogits, vectors: torch.Tensor) -> torch.Tensor:
    """The published form: every (B, P, 2W) product."""
    narrow = branch.narrow(vectors)
    pairs = torch.cat([narrow[:, branch.left], narrow[:, branch.right]], dim=-1)
    hidden = branch.second(torch.relu(branch.first(pairs)))
    return (hidden * branch.pair_weight).sum(-1) + branch.pair_bias


@pytest.mark.parametrize("chunk", [2**23, 40])
def test_folded_pair_logits_and_their_gradients_equal_the_published_form(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsrb_core.sst._CHUNK", chunk)
    torch.manual_seed(0)
    branch, vectors = PairLogits(6, 5), torch.randn(3, 5, 6)
    torch.nn.init.normal_(branch.pair_bias)
    gradients = []
    for form in (branch, lambda v: naive_pairs(branch, v)):
        branch.zero_grad()
        logits = form(vectors)
        logits.square().sum().backward()
        gradients.append((logits.detach(), [p.grad.clone() for p in branch.parameters()]))
    assert gradients[0][0].shape == (3, 10)
    assert torch.allclose(gradients[0][0], gradients[1][0], atol=1e-5)
    for mine, reference in zip(gradients[0][1], gradients[1][1], strict=True):
        assert torch.allclose(mine, reference, atol=1e-3)


def test_likelihood_is_the_mean_over_known_positives_of_the_picture() -> None:
    branch = PairLogits(2, 3)  # pairs 01, 02, 12
    logits = torch.logit(torch.tensor([[0.9, 0.2, 0.6], [0.5, 0.5, 0.5]]))
    labels = torch.tensor([[1, 0, 1], [0, -1, 0]])
    found = branch.likelihood(logits, labels)
    assert float(found[0, 1]) == pytest.approx((0.9 + 0.6) / 2)
    assert found[1].tolist() == [0, 0, 0]


def test_pair_loss_counts_only_two_known_positives_as_positive() -> None:
    branch = PairLogits(2, 3)
    labels, x = torch.tensor([[1, 1, 0]]), torch.tensor([[0.4, 1.2, -5.0]])
    p = torch.sigmoid(x)[0].tolist()
    clipped = [max(0.0, q - 0.05) for q in p]
    expected = -(1 - p[0]) * math.log(p[0]) - clipped[1] ** 2 * math.log(1 - clipped[1])
    assert clipped[2] == 0
    assert float(branch.loss(x, labels)) == pytest.approx(expected / 3, abs=1e-6)


def test_one_category_has_no_pairs_and_a_loss_of_zero() -> None:
    branch = PairLogits(4, 1)
    vectors, labels = torch.randn(2, 1, 4, requires_grad=True), torch.ones(2, 1)
    logits = branch(vectors)
    assert logits.shape == (2, 0)
    assert float(branch.loss(logits, labels).detach()) == 0
    assert branch.likelihood(logits, labels).tolist() == [[0], [0]]


def test_the_queue_keeps_the_latest_positives_of_each_category() -> None:
    queue = PositiveQueue(2, length=2)
    vectors = torch.tensor([[1.0, 0.0], [0.0, 3.0], [-2.0, 0.0]]).unsqueeze(1).expand(3, 2, 2)
    queue.add(vectors, torch.tensor([[1, 0], [1, -1], [1, 0]]))
    asked = torch.tensor([[[0.0, 5.0], [0.0, 5.0]]])
    assert queue.similarity(asked).tolist() == [[0.5, -1.0]]  # the first was pushed out; nobody of the second
    queue.add(vectors[1:2], torch.tensor([[1, 0]]))
    queue.add(vectors[1:2], torch.tensor([[1, 0]]))
    assert queue.similarity(asked)[0, 0] == 1


@given(st.integers(0, 100), st.floats(0, 1))
def test_guesses_are_positives_at_unknown_cells_only(seed: int, tau: float) -> None:
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 2, (4, 5), generator=g, dtype=torch.int8)
    likelihood = torch.rand(4, 5, generator=g)
    found = with_guesses(labels, likelihood, tau)
    assert torch.equal(found[labels != 0], labels[labels != 0])
    assert torch.equal(found[labels == 0] == 1, likelihood[labels == 0] >= tau)
    assert not bool((found[labels == 0] < 0).any())


def sst_learner() -> SSTLearner:
    source, complete, _ = localised(24, categories=3, dim=8, side=2)
    labels = hide_labels(complete, 0.6)
    sizes = {"dim": 6, "attention_dim": 4, "graph_dim": 4, "hidden": 6}
    config = DSRBConfig(**sizes, instance_weight=0, prototype_weight=0, contrastive_weight=0.05)
    model = DSRB(features=source.dim, grid=source.grid, categories=3, config=config)
    model.frame = Frame(source.dim, 6)
    model.frame.measure(torch.from_numpy(source.pooled()))
    tokens = TokenStore(source, model.frame, np.arange(24), limit_bytes=2**20)
    tokens.load(on_chunk=lambda done, total: None, should_stop=lambda: False)
    target, floor = torch.from_numpy(labels), torch.randn(24, 3)
    options = {"training": QUICK, "stage": 0, "should_stop": lambda: False}
    return SSTLearner(model, tokens, target, floor, **options)


def test_sst_supervises_known_cells_three_times_and_guesses_once_each() -> None:
    learner, rows = sst_learner(), np.arange(24)
    generator = torch.Generator().manual_seed(0)
    plain = learner.losses(rows, blending=False, generator=generator)
    assert set(plain) == {"known", "intra", "inter", "contrastive", "cooccurrence", "l2"}
    assert torch.equal(plain["known"], plain["intra"])  # a fresh branch is sure of nothing
    learner.tau = 0.0  # every unknown cell of a picture with a likelihood of at least 0
    guessed = learner.losses(rows, blending=False, generator=generator)
    everywhere = torch.where(learner.labels == 0, 1, learner.labels)
    expected = partial_bce(Supervised(learner.floor, everywhere).logits, everywhere)
    assert torch.allclose(guessed["intra"], expected, atol=1e-5)
    assert torch.equal(guessed["known"], plain["known"])
    total = learner.criterion.total({**plain}, ramp=0.5)
    by_hand = 3 * plain["known"] + 0.5 * (10 * plain["cooccurrence"] + 0.05 * plain["contrastive"])
    assert torch.allclose(total, by_hand + 0.03 * plain["l2"], rtol=1e-4)


def test_the_pair_branch_is_learnt() -> None:
    learner = sst_learner()
    before = {name: value.clone() for name, value in learner.pairs.named_parameters()}
    losses = [learner.epoch(index)["cooccurrence"] for index in range(3)]
    assert losses[-1] < losses[0]
    moved = [name for name, value in learner.pairs.named_parameters() if not torch.equal(value, before[name])]
    assert set(moved) == set(before)
    assert learner.tau == threshold(2, QUICK.epochs)
