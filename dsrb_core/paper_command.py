"""`python -m dsrb_core paper`: the published network and schedule, from pixels, on one process or many."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dsrb_core.category_vectors import GLOVE, category_vectors
from dsrb_core.datasets import Dataset, load_dataset
from dsrb_core.paper_config import PaperConfig
from dsrb_core.paper_ranks import Ranks, join
from dsrb_core.paper_run import PaperJob, run_paper
from dsrb_core.paper_training import OnStep

_FIGURES = {"map": "mAP", "map_interpolated": "mAP interpolated", "cf1": "CF1", "of1": "OF1"}


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    paper = commands.add_parser(
        "paper",
        help="train the published network from pixels",
        description="Train the published network from pixels. A stopped run goes on after its last epoch; "
        "`torchrun --nproc-per-node N -m dsrb_core paper ...` takes N GPUs.",
    )
    paper.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with images/ and labels.csv, or COCO 2014, VOC 2007, VG-200 as published",
    )
    paper.add_argument("--known", type=float, default=0.1, help="share of the cells that stay known")
    paper.add_argument("--seed", type=int, default=0)
    paper.add_argument("--method", default="dsrb", help="ssgrl, sarb or dsrb")
    paper.add_argument(
        "--category-vectors",
        default="learned",
        help="FILE.npy with a row per category in the order of the set, learned, text or glove:PATH",
    )
    paper.add_argument(
        "--weights", default="imagenet", help="file with torchvision's state dict, imagenet, or none"
    )
    paper.add_argument("--out", type=Path, default=Path("paper"), help="results and checkpoint")
    paper.add_argument("--device", default="auto", help="auto, cpu or cuda")
    paper.add_argument("--amp", default="auto", help="auto, off, bf16 or fp16")
    paper.add_argument("--workers", type=int, default=4, help="processes that read pictures, per GPU")
    paper.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another value than the published one, for example epochs=10 or batch_size=32; repeatable",
    )


def paper_command(options: argparse.Namespace, console: Console) -> None:
    """Run and write; ValueError, RuntimeError or OSError, one sentence, when it cannot be."""
    config = PaperConfig.from_dict(PaperConfig().to_dict() | {"method": options.method}).changed(options.set)
    dataset = load_dataset(options.data)
    words = _words(options.category_vectors, dataset)
    wanted = config.amp if options.amp == "auto" and config.amp != "off" else options.amp  # --set amp=...
    with join(options.device) as ranks:
        job = PaperJob(
            dataset=dataset,
            config=config.changed([f"amp={choose_amp(wanted, ranks.device)}"]),
            out=options.out,
            known=options.known,
            seed=options.seed,
            weights=options.weights,
            words=words,
            workers=options.workers,
        )
        if ranks.first:
            console.print(
                f"{dataset.name}: {len(dataset.train)} training and {len(dataset.test)} test pictures, "
                f"{len(dataset.categories)} categories; {config.method}, {100 * job.known:g} % known, "
                f"seed {job.seed}, on {ranks.world} x {ranks.device.type}.",
                highlight=False,
            )
        with _bars(console, ranks) as on_step:
            report = run_paper(job, ranks=ranks, on_step=on_step)
        if ranks.first:
            _tell(report, job, console)


def _words(source: str, dataset: Dataset) -> npt.NDArray[np.float32] | None:
    """Category vectors (C, S) of a set, None = learned."""
    if source.endswith(".npy") and not source.startswith(GLOVE):
        return read_category_vectors(Path(source), categories=len(dataset.categories))
    return category_vectors(source, dataset.categories)


def choose_amp(wanted: str, device: torch.device) -> str:
    """off, bf16 or fp16: `auto` is what a GPU can do and off on a CPU. ValueError for fp16 on a CPU."""
    if wanted == "fp16" and device.type == "cpu":
        raise ValueError("amp fp16 needs a GPU; a CPU has bf16.")
    if wanted != "auto":
        return wanted
    if device.type == "cpu":
        return "off"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def read_category_vectors(path: Path, *, categories: int) -> npt.NDArray[np.float32]:
    """The array (C, S) in a .npy file; ValueError names the file when it is none, or not finite numbers."""
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"The category vectors {path} cannot be read as a .npy array ({error}).") from error
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or len(vectors) != categories:
        shape = getattr(vectors, "shape", "several arrays")
        raise ValueError(f"The category vectors {path} must have a row for each of the {categories} "
                         f"categories, (C, S); found {shape}.")  # fmt: skip
    if vectors.dtype.kind not in "fiu" or not vectors.shape[1] or not np.isfinite(vectors).all():
        raise ValueError(f"The category vectors {path} must be finite numbers.")
    return np.ascontiguousarray(vectors, dtype=np.float32)


@contextmanager
def _bars(console: Console, ranks: Ranks) -> Iterator[OnStep | None]:
    """Two bars, of epochs and of batches; the other processes are silent."""
    if not ranks.first:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        epochs, batches = progress.add_task("epochs", total=None), progress.add_task("")

        def on_step(what: str, done: int, total: int) -> None:
            task = epochs if what == "epoch" else batches
            progress.update(task, description=what, completed=done, total=total or None)

        yield on_step


def _tell(report: dict[str, Any], job: PaperJob, console: Console) -> None:
    for part, title in (("test", "test pictures"), ("hidden", "hidden cells of training pictures")):
        found = [
            f"{name} {'-' if report[part][key] is None else format(100 * report[part][key], '.1f')}"
            for key, name in _FIGURES.items()
        ]
        console.print(f"{title}: {', '.join(found)}", highlight=False)
    console.print(f"Written: {job.results}, {job.checkpoint}", soft_wrap=True, highlight=False)
