"""Two processes under torchrun (gloo): the real command, identical states, the prototypes of one process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dsrb_core import __main__ as command
from dsrb_core.datasets import load_dataset
from dsrb_core.paper_config import PaperConfig
from dsrb_core.paper_data import PictureFeed, PictureSet
from dsrb_core.paper_prototypes import refresh_prototypes
from dsrb_core.paper_ranks import Ranks
from dsrb_core.paper_training import PaperLearner
from dsrb_core.protocol import partial_labels
from tests.dsrb_core.test_paper_data import SMALL, draw
from tests.dsrb_core.test_paper_training import QUARTERS, Poisoned, learner_of, net_of

# A process that had run most other tests ended without a word while it compared what torchrun left here.
pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
BANKS = {"dsrb": QUARTERS, "sarb": replace(QUARTERS, method="sarb")}


def bank(config: PaperConfig, folder: Path, ranks: Ranks) -> dict[str, Tensor]:
    """The prototypes of an untrained network."""
    dataset = load_dataset(folder / "set")
    labels = partial_labels(dataset, 0.6, seed=0)
    net = net_of(config, labels)
    feed = PictureFeed(PictureSet(dataset.paths, config, seed=0), workers=0)
    refresh_prototypes(net, feed, labels, ranks=ranks, seed=0, epoch=2)
    return net.bank.state_dict()


def bad_step(folder: Path, ranks: Ranks) -> dict[str, Tensor]:
    """An epoch whose second step is not finite on process 1 alone."""
    dataset = load_dataset(folder / "set")
    learner = learner_of(dataset, replace(SMALL, batch_size=2), ranks=ranks)
    learner.feed = Poisoned(learner.feed, learner.net, {1} if ranks.rank == 1 else set())
    learner.epoch(0)
    return learner.state()


def process(folder: Path) -> None:
    """What each of the two processes does; torchrun starts this module.

    Everything happens inside the one process group of the command.
    """
    torch.set_num_threads(1)
    scores = PaperLearner.scores

    def watched(learner: PaperLearner, rows: np.ndarray) -> np.ndarray:
        found, ranks = scores(learner, rows), learner.ranks
        assert ranks.world == 2
        states = {"run": learner.state() | {"scores": torch.from_numpy(found)}}
        states |= {f"bank-{name}": bank(config, folder, ranks) for name, config in BANKS.items()}
        states["bad"] = bad_step(folder, ranks)
        agreed = {"same": ranks.agree(7), "other": ranks.agree(ranks.rank)}
        states["agreed"] = {name: torch.tensor(value) for name, value in agreed.items()}
        flat = {f"{part}.{name}": v.clone() for part, state in states.items() for name, v in state.items()}
        save_file(flat, folder / f"rank-{ranks.rank}.safetensors")
        return found

    PaperLearner.scores = watched  # type: ignore[method-assign, assignment]
    values = {"image_size": 128, "batch_size": 2, "epochs": 2, "dim": 16, "attention_dim": 8, "blend_from": 1}
    values |= {"learning_rate": 0.001, "prototypes_every": 1}
    sets = [f"--set={name}={value}" for name, value in values.items()] + ["--set=backbone=resnet18"]
    where = ["--data", str(folder / "set"), "--out", str(folder / "out")]
    how = ["--known", "0.6", "--weights", "none", "--device", "cpu", "--workers", "0"]
    sys.exit(command.main(["paper", *where, *how, *sets]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where two processes have run."""
    folder = tmp_path_factory.mktemp("ranks")
    draw(folder / "set")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, "-m", "tests.dsrb_core.test_paper_ranks", str(folder)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    yield folder


@pytest.fixture(scope="module")
def states(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    first, second = (load_file(folder / f"rank-{rank}.safetensors") for rank in (0, 1))
    return first, second


def part(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}


def test_both_processes_end_with_identical_weights_prototypes_and_scores(
    states: tuple[dict[str, Tensor], dict[str, Tensor]],
) -> None:
    first, second = states
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert bool(part(first, "run")["model.bank.counts"].any())
    assert bool((part(first, "run")["scores"] != 0).all(dim=1).all()), "every picture was scored by someone"


def test_the_first_process_alone_writes_and_both_shared_one_run(folder: Path) -> None:
    names = sorted(path.name for path in (folder / "out").iterdir())
    assert names == ["dsrb_known-0.6_seed-0.json", "dsrb_known-0.6_seed-0.safetensors"]
    assert '"processes": 2' in (folder / "out" / names[0]).read_text()


@pytest.mark.parametrize("method", list(BANKS))
def test_two_processes_make_the_prototypes_of_one(
    method: str, folder: Path, states: tuple[dict[str, Tensor], dict[str, Tensor]]
) -> None:
    alone = bank(BANKS[method], folder, Ranks(torch.device("cpu")))
    shared = part(states[0], f"bank-{method}")
    assert torch.equal(alone["counts"], shared["counts"]) and bool(alone["counts"].any())
    assert torch.allclose(alone["vectors"], shared["vectors"], atol=1e-5)


def test_a_bad_step_of_one_process_is_dropped_by_both(
    states: tuple[dict[str, Tensor], dict[str, Tensor]],
) -> None:
    for state in states:
        assert int(part(state, "bad")["bad_steps"]) == 1
        assert all(bool(torch.isfinite(value.float()).all()) for value in part(state, "bad").values())


def test_processes_that_found_different_files_are_noticed(
    states: tuple[dict[str, Tensor], dict[str, Tensor]],
) -> None:
    for state in states:
        assert bool(state["agreed.same"]) and not bool(state["agreed.other"])


if __name__ == "__main__":
    process(Path(sys.argv[1]))
