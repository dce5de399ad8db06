"""A run of the paper profile: train, keep a checkpoint per epoch, judge once at the end (method.md 3.5)."""

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dsrb_core.checkpoint import load_training, save_training, under
from dsrb_core.datasets import Dataset
from dsrb_core.judging import judge
from dsrb_core.labels import Labels, check_trainable, cooccurrence
from dsrb_core.paper_backbone import load_resnet, weights_digest
from dsrb_core.paper_config import PaperConfig
from dsrb_core.paper_data import PictureFeed, PictureSet
from dsrb_core.paper_model import PaperNet, build_net
from dsrb_core.paper_ranks import Ranks
from dsrb_core.paper_training import OnStep, PaperLearner
from dsrb_core.protocol import Cell, partial_labels, write_atomic
from dsrb_core.resume import fingerprint

log = logging.getLogger(__name__)

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class PaperJob:
    """What to run: a set, a mask, the options, where from and where to. `words` (C, S) or None = learned."""

    dataset: Dataset
    config: PaperConfig
    out: Path
    known: float = 0.1
    seed: int = 0
    weights: str = "imagenet"
    words: npt.NDArray[np.float32] | None = None
    workers: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.known <= 1.0:
            raise ValueError(f"A known proportion must lie in (0, 1], not {self.known}.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"A seed must lie between 0 and 4294967295, not {self.seed}.")
        if self.workers < 0:
            raise ValueError(f"workers must not be negative, not {self.workers}.")

    @property
    def results(self) -> Path:
        """The JSON of the run."""
        return self.out / Cell(self.config.method, self.known, self.seed).file_name

    @property
    def checkpoint(self) -> Path:
        """The state of the run after its last finished epoch, and its model in the end."""
        return self.results.with_suffix(".safetensors")

    def identity(self, partial: Labels, world: int) -> str:
        """SHA-256 of everything the result depends on, but the code and the pixels."""
        options = {
            "format": FORMAT,
            "config": self.config.to_dict(),
            "seed": self.seed,
            "weights": weights_digest(self.weights),
            "names": list(self.dataset.names),
            "categories": list(self.dataset.categories),
            "processes": world,
        }
        arrays: list[npt.NDArray[Any]] = [partial, self.dataset.train, self.dataset.test]
        return fingerprint(arrays=arrays if self.words is None else [*arrays, self.words], options=options)


def run_paper(job: PaperJob, *, ranks: Ranks, on_step: OnStep | None = None) -> dict[str, Any]:
    """Train, judge and write; what was written, also when an earlier call of the same job had finished.

    A call that was stopped goes on after its last finished epoch. Only the first process writes. Of the
    labels, training sees the known cells of the training pictures; the judge alone reads the rest, once.
    ValueError when the data, weights or a checkpoint do not fit; RuntimeError when learning diverges, a
    picture cannot be read, or the published weights cannot be had.
    """
    partial = partial_labels(job.dataset, job.known, seed=job.seed)
    check_trainable(partial)
    identity = job.identity(partial, ranks.world)
    finished = _finished(job.results, identity)
    _check_shared(job, ranks, finished is not None)
    if finished is not None:
        return finished
    net = build_net(
        job.config,
        weights=job.weights,
        seed=job.seed,
        adjacency=torch.from_numpy(
            cooccurrence(partial[job.dataset.train], shrinkage=job.config.graph_shrinkage)
        ),
        words=None if job.words is None else torch.from_numpy(job.words),
    )
    learner = PaperLearner(
        net,
        PictureFeed(
            PictureSet(job.dataset.paths, job.config, seed=job.seed),
            workers=job.workers,
            pinned=ranks.device.type == "cuda",
        ),
        partial,
        job.dataset.train,
        ranks=ranks,
        seed=job.seed,
        on_step=on_step,
    )
    history = _train(learner, job, identity, on_step)
    began = time.perf_counter()
    scores = learner.scores(np.arange(len(job.dataset.paths)))
    test, hidden = judge(job.dataset, partial, scores)
    seconds = sum(epoch["seconds"] for epoch in history) + time.perf_counter() - began
    report = _report(job, ranks) | {
        "identity": identity,
        "test": test,
        "hidden": hidden,
        "history": history,
        "seconds": seconds,
    }
    if ranks.first:
        write_atomic(job.results, (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
    ranks.wait()
    return report


def _train(
    learner: PaperLearner, job: PaperJob, identity: str, on_step: OnStep | None
) -> list[dict[str, Any]]:
    """The epochs that are not in the checkpoint; the history of all."""
    history = _resume(learner, job.checkpoint, identity)
    _check_shared(job, learner.ranks, len(history))
    for index in range(len(history), job.config.epochs):
        if on_step is not None:
            on_step("epoch", index, job.config.epochs)
        began = time.perf_counter()
        losses = learner.epoch(index)
        history.append(
            {
                "epoch": index,
                "learning_rate": job.config.learning_rate_in(index),
                "losses": losses,
                "lambdas": [float(one.detach()) for one in learner.net.lambdas],
                "dropped_steps": learner.bad_steps,
                "seconds": time.perf_counter() - began,
            }
        )
        if learner.ranks.first:
            net = learner.net
            about = {
                "identity": identity,
                "history": history,
                "config": job.config.to_dict(),
                "categories": net.categories,
                "word_features": None if job.words is None else job.words.shape[1],
            }
            save_training(job.checkpoint, learner.state(), about)
        learner.ranks.wait()
    return history


def _check_shared(job: PaperJob, ranks: Ranks, progress: int) -> None:
    """RuntimeError, instead of waiting for ever, when the processes found different things in `job.out`."""
    if not ranks.agree(progress):
        raise RuntimeError(f"The processes see different files in {job.out}; it must be a folder they share.")


def _resume(learner: PaperLearner, path: Path, identity: str) -> list[dict[str, Any]]:
    """Take up the checkpoint and return its history; ValueError when it is another run's."""
    found = load_training(path)
    if found is None:
        return []
    tensors, about = found
    if about["identity"] != identity:
        raise ValueError(
            f"{path} belongs to a run with other data, options or processes; name another --out or delete it."
        )
    learner.restore(tensors)
    history: list[dict[str, Any]] = about["history"]
    log.info("Going on after %d epochs.", len(history))
    return history


def load_paper_net(path: Path) -> PaperNet:
    """The network of a run's checkpoint, on the CPU in evaluation mode.

    FileNotFoundError when there is none; ValueError when it is damaged or no checkpoint of a paper run.
    """
    found = load_training(path)
    if found is None:
        raise FileNotFoundError(f"There is no checkpoint {path}.")
    tensors, about = found
    if "word_features" not in about:
        raise ValueError(f"{path} is no checkpoint of a paper run.")
    config, categories = PaperConfig.from_dict(about["config"]), about["categories"]
    words = about["word_features"]
    net = PaperNet(
        config,
        load_resnet(config.backbone, "none"),
        adjacency=torch.eye(categories),
        words=None if words is None else torch.zeros(categories, words),
    )
    net.load_state_dict(under("model.", tensors))
    return net.eval()


def _finished(path: Path, identity: str) -> dict[str, Any] | None:
    """The report of this very run when there is one."""
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return about if about["identity"] == identity else None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        log.warning("%s is damaged and is written again.", path.name)
        return None


def _report(job: PaperJob, ranks: Ranks) -> dict[str, Any]:
    """What was run, and on what."""
    dataset, device = job.dataset, ranks.device
    return {
        "format": FORMAT,
        "dataset": dataset.about(),
        "method": job.config.method,
        "known": job.known,
        "seed": job.seed,
        "options": job.config.to_dict(),
        "weights": Path(job.weights).name,
        "category_vectors": None if job.words is None else list(job.words.shape),
        "processes": ranks.world,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }
