"""The paper profile's loop: what a step trains, when blending begins, prototypes, bad steps, resuming."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dsrb_core.datasets import Dataset, load_dataset
from dsrb_core.labels import Labels, cooccurrence
from dsrb_core.losses import contrastive, partial_bce
from dsrb_core.metrics import mean_average_precision
from dsrb_core.paper_config import PaperConfig
from dsrb_core.paper_data import Batch, Key, PictureFeed, PictureSet, all_batches, step_generator
from dsrb_core.paper_model import PaperNet, build_net
from dsrb_core.paper_prototypes import autocast, choose_members, refresh_prototypes
from dsrb_core.paper_ranks import Ranks, join
from dsrb_core.paper_step import PaperStep
from dsrb_core.paper_training import PaperLearner
from dsrb_core.protocol import partial_labels
from dsrb_core.training import Diverged
from tests.dsrb_core.test_paper_data import SMALL, draw

CPU = Ranks(torch.device("cpu"))
QUARTERS = replace(SMALL, image_size=128, resized=144, crops=(144, 128))  # 2 x 2 places


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(draw(tmp_path_factory.mktemp("paper") / "set"))


def net_of(config: PaperConfig, labels: Labels) -> PaperNet:
    adjacency = torch.from_numpy(cooccurrence(labels))
    words = torch.randn(labels.shape[1], 5, generator=torch.Generator().manual_seed(3))
    return build_net(config, weights="none", seed=0, adjacency=adjacency, words=words)


def learner_of(
    dataset: Dataset, config: PaperConfig = SMALL, *, known: float = 0.6, ranks: Ranks = CPU
) -> PaperLearner:
    labels = partial_labels(dataset, known, seed=0)
    feed = PictureFeed(PictureSet(dataset.paths, config, seed=0), workers=0)
    return PaperLearner(net_of(config, labels), feed, labels, dataset.train, ranks=ranks, seed=0)


def first_batch(learner: PaperLearner, count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    batch = next(learner.feed.read([[Key(row, "plain") for row in range(count)]]))
    return batch.pixels, torch.from_numpy(learner.labels[batch.rows.numpy()])


def step_losses(learner: PaperLearner, *, blending: bool) -> dict[str, torch.Tensor]:
    pixels, labels = first_batch(learner)
    generator = step_generator(0, epoch=0, rank=0)
    found: dict[str, torch.Tensor] = learner.step(pixels, labels, blending=blending, generator=generator)
    return found


def equal_states(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- a step


def test_losses_of_a_step_are_those_of_the_parts(dataset: Dataset) -> None:
    learner = learner_of(dataset, QUARTERS)
    learner.net.eval()  # running statistics, so that a second pass sees the same vectors
    refresh_prototypes(learner.net, learner.feed, learner.labels, ranks=CPU, seed=0, epoch=0)
    pixels, labels = first_batch(learner)
    found = step_losses(learner, blending=True)
    seen = learner.net.look(pixels)
    assert torch.allclose(found["known"], partial_bce(learner.net.phi(seen.vectors), labels))
    drawn = contrastive(
        seen.vectors, labels, negative_pairs=True, generator=step_generator(0, epoch=0, rank=0)
    )
    assert torch.allclose(step_losses(learner, blending=False)["contrastive"], drawn)
    donors = torch.flip(labels, (0,))
    mask = (labels == 0) & (donors > 0)
    mixed = torch.where(mask[..., None], 0.5 * (seen.vectors + seen.vectors.flip(0)), seen.vectors)
    targets = torch.where(mask, 0.5, labels.float())
    assert bool(mask.any())
    assert torch.allclose(found["instance"], partial_bce(learner.net.phi(mixed), targets), atol=1e-6)
    assert 0 < float(found["prototype"].detach()) < 5


@pytest.mark.parametrize(
    ("method", "before", "after"),
    [
        ("ssgrl", {"known"}, {"known"}),
        ("sarb", {"known", "contrastive"}, {"known", "contrastive", "instance", "prototype"}),
        ("dsrb", {"known", "contrastive"}, {"known", "contrastive", "instance", "prototype"}),
    ],
)
def test_blended_losses_begin_when_they_should(
    method: str, before: set[str], after: set[str], dataset: Dataset
) -> None:
    learner = learner_of(dataset, SMALL.changed([f"method={method}", "blend_from=2", "prototypes_every=2"]))
    steps: list[tuple[str, int, int]] = []
    learner.on_step = lambda *told: steps.append(told)
    found = [learner.epoch(index) for index in range(4)]
    assert [set(losses) for losses in found] == [before, before, after, after]
    assert all(np.isfinite(value) for losses in found for value in losses.values())
    assert [what for what, _, _ in steps].count("prototypes") == (method != "ssgrl")
    assert bool(learner.net.bank.counts.any()) is (method != "ssgrl")


def test_a_step_moves_layer4_and_head_and_nothing_that_is_frozen(dataset: Dataset) -> None:
    learner = learner_of(dataset, QUARTERS)
    before = {name: value.clone() for name, value in learner.net.state_dict().items()}
    learner.epoch(0)
    learner.epoch(1)
    still = {name for name, value in learner.net.state_dict().items() if torch.equal(value, before[name])}
    assert {name for name in before if name.startswith("backbone.frozen")} <= still
    trained = {name for name, one in learner.net.named_parameters() if one.requires_grad}
    assert not trained & still
    assert {"graph.adjacency", "attention.words"} <= still


def test_lambdas_wait_for_the_blending_and_stay_in_bounds(dataset: Dataset) -> None:
    learner = learner_of(dataset, replace(SMALL, learning_rate=0.2, weight_decay=0.5, blend_from=1))
    learner.epoch(0)
    assert [float(one.detach()) for one in learner.net.lambdas] == [0.5, 0.5], "not even the weight decay"
    for index in (1, 2):
        learner.epoch(index)
        keeps = [
            keep(generator=torch.Generator())
            for keep in (learner.net.instance_keep, learner.net.prototype_keep)
        ]
        assert all(0.0 <= float(keep.detach()) <= 1.0 for keep in keeps)
    assert any(float(one.detach()) != 0.5 for one in learner.net.lambdas)


def test_the_learning_rate_falls_by_steps_and_the_ramp_rises_in_epoch_0_alone(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = learner_of(dataset, replace(SMALL, decay_every=2, blend_from=9))
    ramps: list[float] = []
    total = learner.criterion.total
    monkeypatch.setattr(
        learner.criterion, "total", lambda losses, *, ramp: (ramps.append(ramp), total(losses, ramp=ramp))[1]
    )
    rates = []
    for index in range(4):
        learner.epoch(index)
        rates.append(learner.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])
    assert ramps[:3] == pytest.approx([0, 1 / 3, 2 / 3])
    assert set(ramps[3:]) == {1.0}


def test_a_blended_cell_is_never_a_known_one_even_when_all_are_known(dataset: Dataset) -> None:
    learner = learner_of(dataset, known=1.0)
    refresh_prototypes(learner.net, learner.feed, learner.labels, ranks=CPU, seed=0, epoch=0)
    learner.net.eval()
    found = step_losses(learner, blending=True)
    for name in ("instance", "prototype"):
        assert torch.allclose(found[name], found["known"], atol=1e-6), "nothing was blended (B1)"


def test_a_batch_without_any_known_cell_gives_finite_losses_with_a_graph(dataset: Dataset) -> None:
    learner = learner_of(dataset)
    learner.labels[:] = 0
    found = step_losses(learner, blending=True)
    assert all(float(loss.detach()) == 0.0 for loss in found.values())
    torch.stack(list(found.values())).sum().backward()


def test_hidden_and_test_labels_are_never_read(dataset: Dataset) -> None:
    learner = learner_of(dataset)
    assert not learner.labels[dataset.test].any()
    poisoned = replace(dataset, labels=-dataset.labels)
    mixed = np.where(partial_labels(dataset, 0.6, seed=0) != 0, dataset.labels, poisoned.labels)
    other = learner_of(replace(dataset, labels=mixed.astype(np.int8)))
    assert learner.epoch(0) == other.epoch(0)
    assert equal_states(learner.state(), other.state())


def test_the_whole_network_learns_from_pixels(tmp_path: Path) -> None:
    dataset = load_dataset(draw(tmp_path / "set", count=48))
    config = replace(QUARTERS, batch_size=8, epochs=6, blend_from=3)
    learner = learner_of(dataset, config)
    losses = [learner.epoch(index)["known"] for index in range(6)]
    assert losses[-1] < losses[0] - 0.1
    scores = learner.scores(np.arange(len(dataset.paths)))
    assert mean_average_precision(scores[dataset.test], dataset.labels[dataset.test]) > 0.8


# --- mixed precision


def test_mixed_precision_trains_on_the_cpu_with_losses_in_float32(dataset: Dataset) -> None:
    learner = learner_of(dataset, replace(QUARTERS, amp="bf16"))
    with autocast(learner.net, CPU.device):
        assert learner.net.backbone(first_batch(learner)[0]).dtype == torch.bfloat16
    refresh_prototypes(learner.net, learner.feed, learner.labels, ranks=CPU, seed=0, epoch=0)
    found = step_losses(learner, blending=True)
    assert {loss.dtype for loss in found.values()} == {torch.float32}
    full = learner_of(dataset, QUARTERS)
    assert float(found["known"].detach()) == pytest.approx(
        float(step_losses(full, blending=False)["known"].detach()), abs=0.05
    )
    assert all(np.isfinite(value) for value in learner.epoch(1).values())
    assert all(one.dtype == torch.float32 for one in learner.net.parameters())
    assert learner.scores(dataset.test).dtype == np.float32


# --- prototypes


def known_positive_vectors(learner: PaperLearner) -> Iterator[tuple[int, int, int, torch.Tensor]]:
    """Row, category, quadrant and vector of every known positive, one picture after the other."""
    learner.net.eval()
    with torch.no_grad():
        for (key,) in all_batches(np.arange(len(learner.labels)), "prototypes", batch=1, epoch=2):
            seen = learner.net.look(next(learner.feed.read([[key]])).pixels)
            for category in np.flatnonzero(learner.labels[key.row] > 0):
                yield key.row, int(category), int(seen.cells[0, category]), seen.vectors[0, category]


def test_quadrant_prototypes_are_exact_means_of_the_known_positives(dataset: Dataset) -> None:
    learner = learner_of(dataset, QUARTERS)
    refresh_prototypes(learner.net, learner.feed, learner.labels, ranks=CPU, seed=0, epoch=2)
    members: dict[tuple[int, int], list[torch.Tensor]] = {}
    for _, category, cell, vector in known_positive_vectors(learner):
        members.setdefault((category, cell), []).append(vector)
    bank = learner.net.bank
    assert int(bank.counts.sum()) == int((learner.labels > 0).sum())
    assert len({cell for _, cell in members}) > 1
    for (category, cell), vectors in members.items():
        assert int(bank.counts[category, cell]) == len(vectors)
        assert torch.allclose(bank.vectors[category, cell], torch.stack(vectors).mean(0), atol=1e-5)
    assert not bank.vectors.requires_grad


def test_clusters_see_a_drawn_share_of_the_members_and_leave_empty_categories_empty(dataset: Dataset) -> None:
    learner = learner_of(dataset, replace(QUARTERS, method="sarb"))
    learner.labels[:, 2] = 0
    refresh_prototypes(learner.net, learner.feed, learner.labels, ranks=CPU, seed=0, epoch=2)
    positives = (learner.labels > 0).sum(axis=0)
    assert positives[0] > learner.config.cluster_members
    bank = learner.net.bank
    assert bank.counts.sum(1).tolist() == np.minimum(positives, learner.config.cluster_members).tolist()
    assert bank.filled.sum(1).tolist() == [2, 2, 0]
    chosen = choose_members(learner.labels, learner.config.cluster_members, seed=0)[0].tolist()
    mean = torch.stack(
        [v for row, c, _, v in known_positive_vectors(learner) if c == 0 and row in chosen]
    ).mean(0)
    weights = bank.counts[0].float() / bank.counts[0].sum()
    assert torch.allclose(weights @ bank.vectors[0], mean, atol=1e-5)


def test_drawn_members_are_known_positives_and_repeat() -> None:
    labels = np.random.default_rng(0).integers(-1, 2, (50, 3)).astype(np.int8)
    chosen = choose_members(labels, 7, seed=0)
    for column, rows in enumerate(chosen):
        assert len(rows) == 7 and len(set(rows.tolist())) == 7
        assert (labels[rows.numpy(), column] == 1).all()
    again, other = choose_members(labels, 7, seed=0), choose_members(labels, 7, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(chosen, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(chosen, other, strict=True))


# --- steps that are not finite


class Poisoned(PictureFeed):
    """A feed whose batches of the given numbers make the network overflow, by way of its own pixels."""

    def __init__(self, feed: PictureFeed, net: PaperNet, bad: set[int]) -> None:
        self.feed, self.net, self.bad, self.number = feed, net, bad, -1

    def read(self, batches: list[list[Key]]) -> Iterator[Batch]:
        mean = self.net.backbone.frozen.mean
        for batch in self.feed.read(batches):
            self.number += 1
            kept = mean.clone()
            if self.number in self.bad:
                mean.fill_(float("inf"))
            yield batch
            mean.copy_(kept)


def test_a_step_that_is_not_finite_is_dropped_without_a_trace(dataset: Dataset) -> None:
    learner = learner_of(dataset)
    learner.feed = Poisoned(learner.feed, learner.net, {1})
    losses = learner.epoch(0)
    assert learner.bad_steps == 1
    assert all(np.isfinite(value) for value in losses.values())
    assert all(bool(torch.isfinite(value.float()).all()) for value in learner.state().values())


def test_a_gradient_that_is_not_finite_is_dropped_too(dataset: Dataset) -> None:
    learner = learner_of(dataset)
    before = learner.net.fuse.bias.detach().clone()
    learner.net.fuse.bias.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(Diverged):
        learner.epoch(0)
    assert torch.equal(before, learner.net.fuse.bias.detach())


def test_three_bad_steps_end_the_run_in_a_sentence(dataset: Dataset) -> None:
    learner = learner_of(dataset)
    learner.feed = Poisoned(learner.feed, learner.net, {0, 1, 3})
    learner.epoch(0)
    assert learner.bad_steps == 2
    with pytest.raises(Diverged, match="3 steps had a loss that is not finite"):
        learner.epoch(1)


# --- scores and state


def test_every_picture_is_scored_in_its_place_and_none_is_dropped(dataset: Dataset) -> None:
    learner = learner_of(dataset)
    rows = dataset.test[::-1].copy()
    scores = learner.scores(rows)
    assert scores.shape == (len(rows), 3) and len(rows) % SMALL.batch_size
    alone = np.concatenate([learner.scores(rows[i : i + 1]) for i in range(len(rows))])
    assert np.allclose(scores, alone, atol=1e-5)


@pytest.mark.parametrize("method", ["sarb", "dsrb"])
def test_a_restored_learner_goes_on_exactly_as_the_other(method: str, dataset: Dataset) -> None:
    config = replace(SMALL, method=method, epochs=4, prototypes_every=2)
    straight, other, resumed = (learner_of(dataset, config) for _ in range(3))
    for index in range(4):
        straight.epoch(index)
    for index in range(2):
        other.epoch(index)
    resumed.restore({name: value.clone() for name, value in other.state().items()})
    assert [resumed.epoch(index) for index in (2, 3)]
    assert equal_states(straight.state(), resumed.state())
    assert np.array_equal(straight.scores(dataset.test), resumed.scores(dataset.test))


def test_devices_are_checked_by_name() -> None:
    with pytest.raises(ValueError, match="device must be auto, cpu or cuda, not 'tpu'"), join("tpu", {}):
        pass
    with join("cpu", {"WORLD_SIZE": "1"}) as ranks:
        assert ranks.first and ranks.world == 1
        assert ranks.all(torch.tensor(True)) and not ranks.all(torch.tensor(False))
        ranks.wait()
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device cuda needs a GPU per process"), join("cuda", {}):
            pass


# --- GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_gpu_gives_the_same_losses_as_the_cpu(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    learner = learner_of(dataset, QUARTERS)
    refresh_prototypes(learner.net, learner.feed, learner.labels, ranks=CPU, seed=0, epoch=0)
    expected = step_losses(learner, blending=True)
    pixels, labels = first_batch(learner)
    step = PaperStep(learner.net.cuda()).to(memory_format=torch.channels_last)
    found = step(pixels.cuda(), labels.cuda(), blending=True, generator=step_generator(0, epoch=0, rank=0))
    assert found.keys() == expected.keys()
    assert all(abs(float(found[name]) - float(expected[name])) < 1e-4 for name in expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_whole_epochs_work_on_the_gpu(amp: str, dataset: Dataset) -> None:
    config = replace(QUARTERS, amp=amp)
    labels = partial_labels(dataset, 0.6, seed=0)
    feed = PictureFeed(PictureSet(dataset.paths, config, seed=0), workers=1, pinned=True)
    ranks = Ranks(torch.device("cuda", 0))
    learner = PaperLearner(net_of(config, labels), feed, labels, dataset.train, ranks=ranks, seed=0)
    found = [learner.epoch(index) for index in range(3)]
    assert all(np.isfinite(value) for losses in found for value in losses.values())
    other = PaperLearner(net_of(config, labels), feed, labels, dataset.train, ranks=ranks, seed=0)
    other.restore(learner.state())
    assert np.allclose(other.scores(dataset.test), learner.scores(dataset.test), atol=1e-2)
