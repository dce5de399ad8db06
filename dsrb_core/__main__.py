"""`python -m dsrb_core bench | paper`: the published protocol on pictures with complete labels."""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console
from rich.logging import RichHandler
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dsrb_core import paper_command
from dsrb_core.bench_report import table, write_report
from dsrb_core.category_vectors import category_vectors
from dsrb_core.config import TrainConfig
from dsrb_core.datasets import load_dataset
from dsrb_core.methods import ABLATIONS, METHODS
from dsrb_core.protocol import Cell, CellResult, Plan, features_of, run_plan
from dsrb_core.reports import EpochReport

T = TypeVar("T")

_USUAL = tuple(name for name in METHODS if name not in ABLATIONS)


def _list_of(kind: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    def parse(text: str) -> tuple[T, ...]:
        try:
            return tuple(kind(part.strip()) for part in text.split(",") if part.strip())
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no comma-separated list of numbers") from error

    return parse


def parser() -> argparse.ArgumentParser:
    """The options."""
    whole = argparse.ArgumentParser(prog="python -m dsrb_core", description=__doc__)
    commands = whole.add_subparsers(dest="command", required=True)
    paper_command.register(commands)
    bench = commands.add_parser(
        "bench",
        help="compare methods with partial labels",
        description="Compare methods with partial labels. A stopped run goes on where it was.",
        epilog="Methods: " + "; ".join(f"{name} ({one.about})" for name, one in METHODS.items()) + ".",
    )
    default = TrainConfig()
    bench.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with images/ and labels.csv, or COCO 2014, VOC 2007, VG-200 as published",
    )
    bench.add_argument("--methods", type=_list_of(str), default=_USUAL, help="default: all but the ablations")
    bench.add_argument("--known", type=_list_of(float), default=(0.1, 0.3, 0.5, 0.7, 0.9))
    bench.add_argument("--seeds", type=_list_of(int), default=(0, 1, 2))
    bench.add_argument("--backbone", default="lite0-320")
    bench.add_argument("--category-vectors", default="learned", help="learned, text or glove:PATH")
    bench.add_argument(
        "--out",
        type=Path,
        default=Path("bench"),
        help="results and finished runs; take another one after a change of the code",
    )
    bench.add_argument("--cache", type=Path, help="features; default: OUT/features")
    bench.add_argument("--device", default="auto", help="auto, cpu or cuda")
    bench.add_argument("--threads", type=int, default=0, help="CPU threads, 0 = as many as there are")
    bench.add_argument("--epochs", type=int, default=default.epochs, help="most epochs of a learnt head")
    return whole


@contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield progress


def bench(options: argparse.Namespace, console: Console) -> None:
    """Run the plan and write the report; ValueError or RuntimeError, one sentence, when it cannot be."""
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    plan = Plan(
        methods=options.methods,
        known=options.known,
        seeds=options.seeds,
        backbone=options.backbone,
        category_vectors=options.category_vectors,
        training=TrainConfig(epochs=options.epochs, device=device),
    )
    dataset = load_dataset(options.data)
    vectors = category_vectors(plan.category_vectors, dataset.categories)  # mistakes before hours of work
    console.print(
        f"{dataset.name}: {len(dataset.train)} training and {len(dataset.test)} test pictures, "
        f"{len(dataset.categories)} categories, {len(plan.cells())} runs."
    )
    with _bars(console) as progress:
        pictures = progress.add_task("features", total=len(dataset.paths))
        source, digest = features_of(
            dataset,
            plan.backbone,
            options.cache or options.out / "features",
            device=device,
            threads=options.threads,
            on_progress=lambda done, total: progress.update(pictures, completed=done, total=total),
        )
        runs, epochs = progress.add_task("runs"), progress.add_task("")

        def on_cell(done: int, total: int, cell: Cell) -> None:
            about = f"{cell.method}, {100 * cell.known:g} % known, seed {cell.seed}"
            progress.update(runs, description=about, completed=done, total=total)
            progress.reset(epochs, description="", visible=False)

        def on_epoch(report: EpochReport) -> None:
            progress.update(
                epochs, description=report.stage, completed=report.epoch, total=report.epochs, visible=True
            )

        results = run_plan(
            plan,
            dataset,
            source,
            options.out,
            digest=digest,
            on_cell=on_cell,
            on_epoch=on_epoch,
            vectors=vectors,
        )
    _tell(results, plan, write_report(results, plan, dataset, options.out), console)


def _tell(results: Sequence[CellResult], plan: Plan, paths: Sequence[Path], console: Console) -> None:
    console.print(Markdown("\n".join(table(results, plan, "test"))))
    console.print("Written: " + ", ".join(map(str, paths)), soft_wrap=True, highlight=False)


def main(arguments: Sequence[str] | None = None, *, console: Console | None = None) -> int:
    """The command; 0, 1 with a sentence when it cannot be done, 130 when it was interrupted."""
    options, out = parser().parse_args(arguments), console or Console()
    handler = RichHandler(console=out, show_path=False, show_time=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    try:
        {"bench": bench, "paper": paper_command.paper_command}[options.command](options, out)
    except (ValueError, RuntimeError, OSError) as error:
        out.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        out.print("Stopped. The same command goes on where it was.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
