"""What the worker does with a job. Here, and in `tasks_generation`, the model library and the store meet."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from annotator import missing, snapshotting
from annotator.errors import BadInput, Conflict, NothingToLearn
from annotator.failpoints import failpoint
from annotator.records import Image, ImageState, Job
from annotator.settings import Settings
from annotator.snapshotting import Frozen
from annotator.store import Store, checks, images
from annotator.worker import devices, warm
from annotator.worker.lease import Lease
from annotator.worker.memory import fit_in_memory
from annotator.worker.publishing import publish_generation
from annotator.worker.tasks_generation import Training
from dsrb_core.backbones import Backbone, load_backbone
from dsrb_core.cache import FeatureCache
from dsrb_core.category_vectors import Vectors
from dsrb_core.config import DSRBConfig, TrainConfig
from dsrb_core.decoding import UNREAD
from dsrb_core.features import extract
from dsrb_core.trainer import EpochReport, FitResult, MapSource, fit

log = logging.getLogger(__name__)

STAGES = {
    "reading": "reading feature maps",
    "floor": "fitting the linear model",
    "checking": "training and checking on held-out answers",
    "learning": "training on all answers",
}
CHECKPOINT = "training.safetensors"


@dataclass(frozen=True)
class Done:
    """How a task ended; `finished` means the job row was closed in the task's own transaction."""

    message: str
    reached_seq: int
    finished: bool = False


class Tasks:
    """The worker's tasks; the backbone stays loaded between them.

    A GPU that is not there, or that fails on the way, is replaced by the CPU, and every message says so.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._backbone: Backbone | None = None
        self._device, self._notice = devices.usable_device(settings.device)

    def run(self, job: Job, lease: Lease) -> Done:
        """Do `job`; raises AnnotatorError with one sentence when it cannot be done."""
        work = {"features": self._features, "retrain": self._retrain}[job.kind]
        try:
            return work(job, lease)
        except RuntimeError as error:
            if self._device == "cpu" or not devices.gpu_failed(error):
                raise
            log.warning("the GPU failed (%s); job %s begins anew on the CPU", error, job.id)
        self._device, self._backbone = "cpu", None
        self._notice = "The GPU failed, so it runs on the CPU until the worker is restarted."
        return work(job, lease)

    def _load_backbone(self, lease: Lease) -> Backbone:
        if self._backbone is None:
            lease.report("loading the backbone")
            try:
                self._backbone = load_backbone(
                    self._settings.backbone,
                    device=self._device,
                    threads=self._settings.threads,
                    cache_dir=self._settings.data_dir / "compiled",
                )
            except (ValueError, RuntimeError) as error:  # an unknown name, or weights that cannot be had
                raise BadInput(str(error)) from error
        return self._backbone

    def _features(self, job: Job, lease: Lease) -> Done:
        done, refused = self._extract(self._pictures(job.project_id), lease)
        tail = f", {refused} cannot be decoded" if refused else ""
        said = f"Features of {done} pictures are ready{tail}."
        return Done(" ".join(filter(None, [said, self._notice])), job.wanted_seq)

    def _pictures(self, project_id: int) -> list[Image]:
        with self._store.read() as c:
            return [
                image
                for image in images.page(c, project_id, limit=sys.maxsize)
                if image.state is ImageState.READY
            ]

    def _extract(self, pictures: list[Image], lease: Lease) -> tuple[int, int]:
        """Cache what is missing; returns how many pictures have features and how many cannot be decoded."""
        backbone = self._load_backbone(lease)
        lease.report("looking at pictures", total=len(pictures))
        with FeatureCache.open(
            self._cache_folder(backbone), grid=backbone.grid, dim=backbone.dim, writable=True
        ) as cache:
            report = extract(
                [(image.sha256, self._settings.data_dir / image.canonical) for image in pictures],
                backbone,
                cache,
                on_progress=lambda done, total: lease.report(done=done, total=total),
                should_stop=lease.should_stop,
            )
        by_key = {image.sha256: image for image in pictures}
        refused = [(by_key[key], reason) for key, reason in report.refused]
        self._mark(refused, len(pictures))
        return report.done + report.skipped, len(refused)

    def _mark(self, refused: list[tuple[Image, str]], total: int) -> None:
        """Note which pictures have no features, because they are gone or cannot be decoded.

        Conflict, and nothing is marked, when so many of `total` are gone that it looks like a missing disk; a
        single one never does. When the disk is back, the next job goes on; nothing is marked that is back by
        now, since a picture that was marked as one that cannot be decoded stays so.
        """
        states: dict[ImageState, list[int]] = {ImageState.REFUSED: [], ImageState.MISSING: []}
        gone = 0
        for picture, reason in refused:
            log.warning("picture %s has no features: %s", picture.name, reason)
            there = readable(self._settings.data_dir / picture.canonical)
            was_there = not reason.startswith(UNREAD)
            gone += not (there and was_there)
            if not there:
                states[ImageState.MISSING].append(picture.id)
            elif was_there:
                states[ImageState.REFUSED].append(picture.id)
        if gone > 1 and missing.too_many(gone, total):
            raise Conflict(
                f"{missing.sentence(gone, total, 'the data folder')}; bring the disk back and train again, "
                "or run `annotator scan --accept-missing` if they are really gone."
            )
        for state, ids in states.items():
            if ids:
                self._store.write(partial(checks.set_states, image_ids=ids, state=state))

    def _cache_folder(self, backbone: Backbone) -> Path:
        return self._settings.data_dir / "features" / backbone.key

    def _retrain(self, job: Job, lease: Lease) -> Done:
        lease.clear_curves()
        lease.report("freezing a snapshot")
        frozen = snapshotting.freeze(self._store, job.project_id)
        check_learnable(frozen.labels)
        vectors = warm.given_vectors(self._settings.category_vectors, frozen.categories)
        self._extract(self._pictures(job.project_id), lease)
        backbone = self._load_backbone(lease)
        cache = FeatureCache.read_only(self._cache_folder(backbone))
        present = np.array([key in cache for key in frozen.keys], dtype=bool)
        if lease.should_stop() or not present.any():
            return Done("No picture could be looked at.", frozen.snapshot.up_to_seq)
        frozen = only(frozen, present)
        check_learnable(frozen.labels)
        return self._train(job, lease, frozen, cache.view(frozen.keys), backbone, vectors)

    def _train(
        self,
        job: Job,
        lease: Lease,
        frozen: Frozen,
        source: MapSource,
        backbone: Backbone,
        vectors: Vectors | None,
    ) -> Done:
        lease.report("training")
        start = warm.plan(self._store, self._settings, frozen, backbone, vectors)
        result, memory = self._fit(job, lease, frozen, source, backbone, start)
        if result.stopped == "diverged" and start.model is not None:
            log.warning("the warm start diverged; training from scratch")
            start = warm.Start(vectors=vectors, frame_images=len(frozen.image_ids))
            result, memory = self._fit(job, lease, frozen, source, backbone, start)
        if result.stopped == "diverged":
            raise NothingToLearn("The training diverged three times; the suggestions stay as they were.")
        if lease.should_stop():
            return Done("", frozen.snapshot.up_to_seq)
        training = Training(
            job=job,
            frozen=frozen,
            start=start,
            source=source,
            result=result,
            backbone=backbone,
            notes=tuple(filter(None, [self._notice, memory])),
        )
        message = publish_generation(self._store, self._settings, training, lease)
        return Done(message, frozen.snapshot.up_to_seq, finished=bool(message))

    def _fit(
        self, job: Job, lease: Lease, frozen: Frozen, source: MapSource, backbone: Backbone, start: warm.Start
    ) -> tuple[FitResult, str]:
        """The result, and what to tell of it when memory was short."""

        checkpoint = self._settings.data_dir / "projects" / str(job.project_id) / CHECKPOINT

        def once(training: TrainConfig) -> FitResult:
            return fit(
                source,
                frozen.labels,
                config=DSRBConfig(),
                training=training,
                warm_start=start.model,
                recheck=start.recheck,
                earlier=start.earlier,
                category_vectors=start.vectors,
                on_epoch=partial(tell, lease),
                should_stop=lease.should_stop,
                checkpoint=checkpoint,
            )

        def run(training: TrainConfig) -> FitResult:
            try:
                return once(training)
            except (ValueError, KeyError, TypeError) as error:
                if not checkpoint.exists():
                    raise
                # Half a training is worth less than one that begins anew; a fault of its own comes again.
                log.warning("the training begins anew without %s: %s", CHECKPOINT, error)
                checkpoint.unlink()
                return once(training)

        options = TrainConfig(
            epochs=self._settings.epochs, seed=self._settings.seed, device=str(backbone.device)
        )
        return fit_in_memory(run, options)


def tell(lease: Lease, report: EpochReport) -> None:
    """Pass on how far a training is."""
    lease.report(STAGES[report.stage], done=report.epoch, total=report.epochs, point=curve_point(report))
    if report.stage in ("checking", "learning"):
        failpoint("epoch")


def readable(path: Path) -> bool:
    """Whether a file is there and gives at least one byte, or is empty."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError:
        return False
    return True


def only(frozen: Frozen, present: np.ndarray) -> Frozen:
    """The rows of a snapshot whose pictures have features; `present` (N,) bool."""
    rows = np.flatnonzero(present)
    return replace(
        frozen,
        image_ids=frozen.image_ids[rows],
        labels=frozen.labels[rows],
        by_strategy=frozen.by_strategy[rows],
        keys=[frozen.keys[row] for row in rows],
        paths=[frozen.paths[row] for row in rows],
    )


def check_learnable(labels: np.ndarray) -> None:
    """Raise NothingToLearn, in words, when `labels` (N, C) in {-1, 0, +1} cannot be trained on."""
    if not labels.size or not labels.any():
        raise NothingToLearn("Nothing is decided yet: answer yes or no for a few categories first.")
    if not (labels == 1).any():
        raise NothingToLearn(
            "Every answer so far is no: answer yes for at least one category of one picture, then retrain."
        )


def curve_point(report: EpochReport) -> dict[str, Any] | None:
    """One epoch as the page plots it; None for a report that is no epoch of the training."""
    if report.stage not in ("checking", "learning"):
        return None
    counted = dict(report.losses)
    if DSRBConfig().contrastive_weight == 0:
        counted.pop("contrastive", None)  # measured, but no part of what is minimised
    return {
        "stage": report.stage,
        "epoch": report.epoch,
        "loss": sum(counted.values()),
        "losses": counted,
        "heldout_map": report.heldout_map,
        "floor_map": report.floor_map,
    }
