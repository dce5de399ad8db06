"""Fifty annotators on one server, while it trains, imports, exports and lists: how long does a save take?

    python benchmarks/load.py [--annotators 50] [--seconds 60] [--pictures 1000] [--import-pictures 5000]
    python benchmarks/load.py --quick

Everything is real: `annotator run` with its page and its worker, `annotator import` in a process of its own,
HTTP on loopback. An annotator looks at a picture, answers one to eight cells and thinks for a second.
Compared in one run: the loaded server with the same server when only the annotators are there; and the single
writer that is shipped with a connection per request on the same SQLite library, everybody saving without a
pause. `--quick` draws less and ends within 45 s on two cores. The last line is `RESULT {json}`:

    save_p95_ms, save_p99_ms, save_max_ms      saves while training, import, export and listing run
    errors                                      requests without the answer they should have, all kinds
    lost                                        answers acknowledged but not in the database afterwards
    next_p95_ms, image_p95_ms                   the next picture with its suggestions; a thumbnail
    saves, training_share, imported, exports    what was going on meanwhile
    idle_save_p95_ms, idle_save_max_ms          only the annotators
    writer_per_s, writer_p95_ms, writer_max_ms  one writer, nobody pauses
    plain_per_s, plain_p95_ms, plain_max_ms     a connection per request, nobody pauses
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script's own folder is on the path, the repository is not

from annotator.actions import Actions  # noqa: E402
from annotator.demo import render_demo  # noqa: E402
from annotator.settings import Settings  # noqa: E402
from annotator.store import Store  # noqa: E402
from benchmarks.load_people import Book, Task, until_training, work  # noqa: E402
from db import migrate  # noqa: E402
from db.engine import sqlite_module  # noqa: E402
from tests.faults.saving import make_world  # noqa: E402
from tests.faults.servers import Nursery, whole  # noqa: E402

BEGIN_S = 120.0  # patience with an import and a training that are to begin
QUICK = {"seconds": 8.0, "pictures": 80, "import_pictures": 300, "backbone": "tiny"}


def prepare(folder: Path, options: argparse.Namespace) -> tuple[int, list[int], list[int]]:
    """A project of drawn scenes whose labels are known in part; project, image and category ids."""
    scenes = render_demo(folder / "scenes", count=options.pictures, seed=options.seed)
    settings = Settings(data_dir=folder / "data", backbone=options.backbone)
    migrate.upgrade(settings.database)
    store = Store.open(settings)
    try:
        actions = Actions(store, settings)
        project = actions.create_project("load").id
        actions.import_folder(project, scenes / "images")
        actions.import_labels(project, partial_table(scenes / "labels.csv"))
        questions = actions.deck(project, 5000).questions
        categories = [view.category.id for view in actions.categories(project)]
        return project, sorted({question.image_id for question in questions}), categories
    finally:
        store.close()


def partial_table(path: Path) -> Path:
    """The first half of the rows, so that every picture of the other half has something to ask."""
    lines = path.read_text(encoding="utf-8").splitlines()
    half = path.with_name("half.csv")
    half.write_text("\n".join(lines[: 1 + len(lines) // 2]) + "\n", encoding="utf-8")
    return half


def draw_noise(folder: Path, count: int, seed: int) -> Path:
    """`count` different photographs of nothing, 640 x 480, to import."""
    folder.mkdir()
    chance = np.random.default_rng(seed)
    for number in range(count):
        coarse = Image.fromarray(chance.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        coarse.resize((640, 480), Image.Resampling.BICUBIC).save(folder / f"noise_{number:05d}.jpg")
    return folder


def idle_s(options: argparse.Namespace) -> float:
    """Seconds that only the annotators work: a minute says as much as ten."""
    return min(float(options.seconds) / 2, 60.0)


def rush_s(options: argparse.Namespace) -> float:
    """Seconds that everybody saves without a pause, with either writer."""
    return min(float(options.seconds) / 4, 30.0)


def lost(database: Path, acknowledged: list[str]) -> int:
    """How many acknowledged operations the database does not hold."""
    with closing(sqlite_module().connect(str(database))) as connection:
        stored = {name for (name,) in connection.execute("SELECT op_id FROM decision")}
    return sum(name not in stored for name in acknowledged)


def under_load(
    folder: Path, options: argparse.Namespace, progress: Progress
) -> tuple[Book, Book, dict[str, float]]:
    """The product, first with its annotators alone, then with everything else going on."""
    project, images, categories = prepare(folder, options)
    pictures = draw_noise(folder / "more", options.import_pictures, options.seed)
    environment = {"ANNOTATOR_BACKBONE": options.backbone, "ANNOTATOR_THREADS": str(options.threads)}
    people = {"annotators": options.annotators, "think_s": 1.0, "seed": options.seed, "look": True}
    with whole(folder / "data", **environment) as server:
        task = Task(server.port, project, images, categories)
        progress.console.print(f"{len(images)} pictures x {len(categories)} categories on port {server.port}")
        idle = asyncio.run(work(task, "idle", seconds=idle_s(options), busy=False, **people))
        importing = start_import(folder, pictures, environment)
        try:
            asyncio.run(until_training(task))
            wait_for_import(folder)
            loaded = asyncio.run(work(task, "load", seconds=options.seconds, busy=True, **people))
        finally:
            importing.terminate()
            importing.wait()
        server.end()
    acknowledged = idle.acknowledged + loaded.acknowledged
    figures = {"lost": lost(folder / "data" / "annotator.db", acknowledged), "imported": imported(folder)}
    return idle, loaded, figures


def start_import(folder: Path, pictures: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """`annotator import` of `pictures` into a project of their own, as a second process on the same data."""
    command = [sys.executable, "-m", "annotator", "import", str(pictures), "--project", "more"]
    return subprocess.Popen(
        [*command, "--data-dir", str(folder / "data")],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
    )


def wait_for_import(folder: Path) -> None:
    """Return once the first picture has come in, so that what is measured is measured during an import."""
    end = time.monotonic() + BEGIN_S
    while imported(folder) == 0:
        if time.monotonic() > end:
            raise SystemExit(f"The import did not begin within {BEGIN_S:g} s.")
        time.sleep(0.05)


def imported(folder: Path) -> int:
    """Pictures that the import brought in while it ran."""
    with closing(sqlite_module().connect(str(folder / "data" / "annotator.db"))) as connection:
        (count,) = connection.execute("SELECT count(*) FROM image WHERE name LIKE 'noise%'").fetchone()
    return int(count)


def without_pause(folder: Path, options: argparse.Namespace, *flags: str) -> Book:
    """Everybody saves as fast as the server answers, on the product's routes with one or the other writer."""
    world = make_world(folder / "data", pictures=200)
    nursery = Nursery()
    with closing(nursery), nursery(world.data_dir, *flags) as server:
        task = Task(server.port, world.project, world.images, world.categories)
        book = asyncio.run(
            work(
                task, "rush", annotators=options.annotators, think_s=0.0, seconds=rush_s(options),
                seed=options.seed, busy=False, look=False,
            )
        )  # fmt: skip
    book.errors += [f"{missing} lost"] if (missing := lost(world.database, book.acknowledged)) else []
    return book


def spread(values: list[float], prefix: str) -> dict[str, float]:
    """95th and 99th percentile and the largest, in ms."""
    return {
        f"{prefix}_p95_ms": float(np.percentile(values, 95)),
        f"{prefix}_p99_ms": float(np.percentile(values, 99)),
        f"{prefix}_max_ms": max(values),
    }


def measure(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """All phases; the figures by name."""
    with Progress(transient=True) as progress:
        phase = progress.add_task("annotator run, idle and loaded", total=3)
        idle, loaded, figures = under_load(folder / "product", options, progress)
        progress.update(phase, advance=1, description="one writer, nobody pauses")
        writer = without_pause(folder / "writer", options)
        progress.update(phase, advance=1, description="a connection per request, nobody pauses")
        plain = without_pause(folder / "plain", options, "--writer", "plain")
        progress.update(phase, advance=1)
    for error in [*loaded.errors, *idle.errors, *writer.errors][:20]:
        print("error:", error)
    figures |= spread(loaded.ms["save"], "save") | spread(idle.ms["save"], "idle_save")
    figures |= spread(writer.ms["save"], "writer") | spread(plain.ms["save"], "plain")
    figures["writer_per_s"] = len(writer.ms["save"]) / rush_s(options)
    figures["plain_per_s"] = len(plain.ms["save"]) / rush_s(options)
    figures["next_p95_ms"] = float(np.percentile(loaded.ms["next"], 95))
    figures["image_p95_ms"] = float(np.percentile(loaded.ms["image"], 95))
    figures["errors"] = len(loaded.errors) + len(idle.errors) + len(writer.errors)
    figures["plain_errors"] = len(plain.errors)
    figures["saves"] = len(loaded.ms["save"])
    figures["training_share"] = loaded.training / max(1, loaded.polls)
    figures["exports"] = loaded.exports
    return figures


def main() -> None:
    """Parse the options, measure, print the result line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the loaded phase")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--import-pictures", type=int, default=5000)
    parser.add_argument("--backbone", default="lite0-320")
    parser.add_argument("--threads", type=int, default=1, help="threads of the worker")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="small sizes; ends within 45 s on two cores")
    if parser.parse_known_args()[0].quick:
        parser.set_defaults(**QUICK)
    options = parser.parse_args()
    if options.annotators < 1 or options.pictures < 20 or options.seconds < 1:
        parser.error("--annotators must be at least 1, --pictures 20 and --seconds 1.")
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options)
    print("RESULT " + json.dumps({name: round(value, 2) for name, value in sorted(figures.items())}))


if __name__ == "__main__":
    main()
