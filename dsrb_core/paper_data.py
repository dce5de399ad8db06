"""Pictures of the paper profile: decoding, the published augmentation, seeded order, loading by processes.

What is drawn for a picture depends on (seed, view, epoch, picture) alone: neither the number of workers nor
the process that reads it nor an interrupted run can change it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from dsrb_core.decoding import read_picture
from dsrb_core.paper_config import PaperConfig

View = Literal["train", "prototypes", "plain"]
_STREAMS: dict[View, int] = {"train": 1, "prototypes": 2, "plain": 3}
_ORDER, _STEPS = 4, 5
_BICUBIC = Image.Resampling.BICUBIC
Rows = npt.NDArray[np.int64]


class Key(NamedTuple):
    """One picture to read: its row, and the augmentation of which epoch and pass it gets."""

    row: int
    view: View
    epoch: int = 0


class Batch(NamedTuple):
    """uint8 pixels (B, 3, S, S) and their rows (B,); `problem` says in a sentence what could not be read."""

    pixels: Tensor
    rows: Tensor
    problem: str


def augment(picture: Image.Image, config: PaperConfig, *, rng: np.random.Generator) -> Image.Image:
    """The published augmentation (method.md 3.5): squeeze, crop a square of a random side, resize, flip."""
    squeezed = picture.resize((config.resized, config.resized), _BICUBIC)
    side = int(rng.choice(config.crops))
    left, top = (int(one) for one in rng.integers(0, config.resized - side + 1, size=2))
    cropped = squeezed.crop((left, top, left + side, top + side)).resize((config.image_size,) * 2, _BICUBIC)
    return ImageOps.mirror(cropped) if rng.random() < 0.5 else cropped


def squeeze(picture: Image.Image, config: PaperConfig) -> Image.Image:
    """What a picture is tested as: both sides resized, the aspect ignored."""
    return picture.resize((config.image_size, config.image_size), _BICUBIC)


def stream(seed: int, *parts: int) -> int:
    """A 63-bit seed for the draws that `parts` name; different parts give independent draws."""
    state = np.random.SeedSequence([seed, *parts]).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))


def step_generator(seed: int, *, epoch: int, rank: int) -> torch.Generator:
    """What the steps of an epoch draw from, on the CPU whatever the device."""
    return torch.Generator().manual_seed(stream(seed, _STEPS, epoch, rank))


def training_batches(
    rows: Rows, *, seed: int, epoch: int, batch: int, rank: int = 0, world: int = 1
) -> list[list[Key]]:
    """The batches of process `rank` of `world` in an epoch, all of them full: the rest is dropped.

    All processes shuffle alike and take their part of every step. ValueError when there is no step.
    """
    steps = len(rows) // (batch * world)
    if not steps:
        raise ValueError(
            f"{len(rows)} training pictures do not fill one step of {batch} on each of {world} processes."
        )
    order = np.random.default_rng(stream(seed, _ORDER, epoch)).permutation(rows)
    parts = order[: steps * batch * world].reshape(steps, world, batch)[:, rank]
    return [[Key(int(row), "train", epoch) for row in part] for part in parts]


def all_batches(
    rows: Rows, view: View, *, batch: int, epoch: int = 0, rank: int = 0, world: int = 1
) -> list[list[Key]]:
    """Every row once over all processes, the last batch as short as it is."""
    keys = [Key(int(row), view, epoch) for row in rows[rank::world]]
    return [keys[low : low + batch] for low in range(0, len(keys), batch)]


class PictureSet(Dataset[tuple[npt.NDArray[np.uint8] | None, int, str]]):
    """Pictures by `Key`: (pixels uint8 (3, S, S) or None, row, what went wrong)."""

    def __init__(self, paths: Sequence[Path], config: PaperConfig, *, seed: int) -> None:
        self.paths, self.config, self.seed = [str(path) for path in paths], config, seed

    def __getitem__(self, key: Key) -> tuple[npt.NDArray[np.uint8] | None, int, str]:
        path = Path(self.paths[key.row])
        try:
            picture = read_picture(path, size=self.config.resized)
        except ValueError as error:  # told by the process that reads the batch, in one sentence
            return None, key.row, f"{path}: {error}."
        if key.view == "plain":
            seen = squeeze(picture, self.config)
        else:
            drawn = stream(self.seed, _STREAMS[key.view], key.epoch, key.row)
            seen = augment(picture, self.config, rng=np.random.default_rng(drawn))
        return np.ascontiguousarray(np.asarray(seen).transpose(2, 0, 1)), key.row, ""


class _Schedule(Sampler[list[Key]]):
    """The batches to read next; set before each pass, so that the worker processes may stay."""

    def __init__(self) -> None:
        self.batches: list[list[Key]] = []

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class PictureFeed:
    """Reads batches of a `PictureSet` with `workers` processes, 0 = in this one; the processes stay."""

    def __init__(self, pictures: PictureSet, *, workers: int, pinned: bool = False) -> None:
        self._schedule = _Schedule()
        self._loader: DataLoader[tuple[npt.NDArray[np.uint8] | None, int, str]] = DataLoader(
            pictures,
            batch_sampler=self._schedule,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=pinned,
            persistent_workers=workers > 0,
            # A fork of a process with threads (torch's, CUDA's) may deadlock.
            multiprocessing_context="spawn" if workers else None,
        )

    def read(self, batches: list[list[Key]]) -> Iterator[Batch]:
        """The batches in order; RuntimeError names the first picture that cannot be read."""
        self._schedule.batches = batches
        if not batches:
            return
        for batch in self._loader:
            if batch.problem:
                raise RuntimeError(f"A picture cannot be read: {batch.problem}")
            yield batch


def collate(items: Sequence[tuple[npt.NDArray[np.uint8] | None, int, str]]) -> Batch:
    """One `Batch` of what `PictureSet` gives."""
    read = [pixels for pixels, _, _ in items if pixels is not None]
    pixels = torch.from_numpy(np.stack(read)) if read else torch.empty(0)
    problem = next((problem for _, _, problem in items if problem), "")
    return Batch(pixels, torch.tensor([row for _, row, _ in items]), problem)
