"""A set of real pictures with complete labels and cached features, for the benchmarks."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dsrb_core.datasets import Dataset, load_dataset
from dsrb_core.protocol import features_of
from dsrb_core.tokens import MapSource

BACKBONE = "lite0-320"


def photographs(folder: Path, cache: Path | None) -> tuple[Dataset, MapSource]:
    """Any set that `python -m dsrb_core bench` reads, and the maps of all its pictures.

    `cache` None is a folder for temporary files.
    """
    dataset = load_dataset(folder)
    where = cache or Path(tempfile.gettempdir()) / "dsrb-features"
    where.mkdir(parents=True, exist_ok=True)

    def show(done: int, total: int) -> None:
        print(f"\rfeatures {done}/{total}", end="\n" if done == total else "", flush=True)

    source, _ = features_of(dataset, BACKBONE, where, on_progress=show)
    return dataset, source
