"""Ranked suggestions for the unknown cells of one image."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from annotator.errors import ArtifactDamaged, NotFound
from annotator.records import CellState, SuggestionList
from annotator.settings import Settings
from annotator.store import Store, categories, generations
from annotator.suggesting.candidates import (
    EVIDENCE,
    Candidate,
    from_model,
    from_priors,
    from_whole_pictures,
    shown,
)
from annotator.suggesting.generation import LoadedGeneration
from annotator.suggesting.names import KeptNames, NameVectors, names_file
from annotator.suggesting.neighbours import CategoryIndexes, Near, WholePictures
from annotator.suggesting.opening import serving
from annotator.suggesting.pooled import PooledFeatures, open_features
from annotator.suggesting.states import ProjectStates

_log = logging.getLogger(__name__)

SHORTLIST = 32  # categories whose neighbours are asked at least, the model's most likely first
WHOLE_K = 50

NO_CATEGORY = "There is no category yet. Press / and type a name to add the first one."
NOTHING_LABELLED = (
    "Nothing is labelled yet. Press / to find or add a category, then Enter for yes; "
    "suggestions start with the first yes."
)
ALL_DECIDED = "Every category is decided for this picture."
NO_YES = "The open categories have no yes yet. Press / to find one, then Enter for yes."


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """What belongs together for one generation; replaced as a whole."""

    record_id: int | None = None
    generation: LoadedGeneration | None = None
    indexes: CategoryIndexes | None = None
    problem: str = ""


class _Room:
    """In-memory state of one project."""

    def __init__(self, project_id: int, data_dir: Path) -> None:
        self.lock = threading.Lock()
        self.states = ProjectStates(project_id)
        self.names = KeptNames(names_file(data_dir, project_id))
        self.opened = _Opened()
        self.rebuild = False
        self.backbone = ""
        self.feature_problem = ""
        self.features: PooledFeatures | None = None
        self.whole: WholePictures | None = None


class Suggester:
    """Suggestions from the current generation and from what people decide meanwhile. Thread-safe.

    A generation with a damaged file is logged once and not used: the newest intact one before it serves, and
    the note of every answer says so.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._data_dir = store.data_dir
        self._backbone = settings.backbone
        self._lock = threading.Lock()
        self._rooms: dict[int, _Room] = {}

    def _room(self, project_id: int) -> _Room:
        with self._lock:
            if project_id not in self._rooms:
                self._rooms[project_id] = _Room(project_id, self._data_dir)
            return self._rooms[project_id]

    def states(self, conn: Connection, project_id: int) -> ProjectStates:
        """Decided cells of a project, as of now."""
        states = self._room(project_id).states
        states.refresh(conn)
        return states

    def generation(self, conn: Connection, project_id: int) -> tuple[LoadedGeneration | None, str]:
        """The current generation, and a sentence when there is one that cannot be used."""
        opened = self._open(conn, project_id)
        return opened.generation, opened.problem

    def name_vectors(self, project_id: int) -> NameVectors | None:
        """Vectors of the categories' names; None where no text model or file of words gives any."""
        return self._room(project_id).names.now()

    def features(self, conn: Connection, project_id: int) -> PooledFeatures | None:
        """Whole-picture features of the backbone in use; None before there are any or when damaged."""
        room, record = self._room(project_id), generations.current(conn, project_id)
        backbone = self._backbone if record is None else record.backbone
        with room.lock:
            if room.features is None or room.backbone != backbone:
                room.backbone, room.features = backbone, None
                try:
                    room.features = open_features(self._data_dir, backbone)
                    room.feature_problem = ""
                except ArtifactDamaged as error:
                    _features_damaged(room, error)
                room.whole = None if room.features is None else WholePictures(room.features, room.states)
            return room.features

    def _open(self, conn: Connection, project_id: int) -> _Opened:
        room, record = self._room(project_id), generations.current(conn, project_id)
        with room.lock:
            if record is None:
                room.opened = _Opened()
            elif room.opened.record_id != record.id:
                found = serving(conn, self._data_dir, record)
                loaded = found.generation
                room.opened = _Opened(
                    record_id=record.id,
                    generation=loaded,
                    indexes=None if loaded is None else CategoryIndexes(loaded, room.states),
                    problem=found.problem,
                )
                room.rebuild = bool(found.problem)
            return room.opened

    def rebuild_wanted(self) -> list[int]:
        """Projects whose current generation was found damaged since the last call: train them again."""
        with self._lock:
            rooms = [(project_id, room) for project_id, room in self._rooms.items() if room.rebuild]
            for _, room in rooms:
                room.rebuild = False
        return [project_id for project_id, _ in rooms]

    def for_image(self, conn: Connection, project_id: int, image_id: int, limit: int) -> SuggestionList:
        """The `limit` most likely unknown cells of an image, with the decided instances behind them."""
        states = self.states(conn, project_id)
        opened = self._open(conn, project_id)
        active = [category.id for category in categories.list_active(conn, project_id)]
        unknown = [
            category_id
            for category_id, state in zip(active, states.block([image_id], active)[0], strict=True)
            if state == CellState.UNKNOWN
        ]
        asked = [category_id for category_id in unknown if states.positives(category_id)]
        found, rest = self._from_generation(
            opened, states, image_id, asked, active=active, width=max(SHORTLIST, limit)
        )
        problem = opened.problem
        if rest:
            found += self._from_whole_pictures(conn, project_id, image_id, rest)
            problem = " ".join(filter(None, [problem, self._room(project_id).feature_problem]))
        found.sort(key=lambda one: -one.probability)
        serves = opened.generation
        return SuggestionList(
            image_id=image_id,
            generation_id=None if serves is None or serves.row(image_id) is None else serves.id,
            suggestions=tuple(shown(one, states) for one in found[:limit]),
            note=problem if found else _nothing_to_show(states, active=active, unknown=unknown),
        )

    def _from_generation(
        self,
        opened: _Opened,
        states: ProjectStates,
        image_id: int,
        asked: Sequence[int],
        *,
        active: Sequence[int],
        width: int,
    ) -> tuple[list[Candidate], list[int]]:
        """Candidates of the generation, and the categories that it cannot speak for."""
        generation, indexes = opened.generation, opened.indexes
        row = None if generation is None else generation.row(image_id)
        if generation is None or indexes is None or row is None:
            return [], list(asked)
        learned = [(c, column) for c in asked if (column := generation.column(c)) is not None]
        rest = [c for c in asked if generation.column(c) is None]
        if not learned:
            return [], rest
        columns = np.array([column for _, column in learned])
        said = states.block([image_id], generation.category_ids.tolist())[0]
        context = generation.context_shift(row, np.where(np.isin(generation.category_ids, active), said, 0))
        logits = generation.model_logits(row)
        mixed = generation.combiner.logit(columns, (logits + context)[columns])
        shortlist = [learned[place] for place in np.argsort(-mixed, kind="stable")[:width]]
        vectors = generation.vectors(row)
        near = None
        if vectors is not None:
            k = max(generation.combiner.k, EVIDENCE)
            near = [
                indexes.of(category_id, column).nearest(vectors[column], k, exclude=image_id)
                for category_id, column in shortlist
            ]
        return from_model(generation, shortlist, logits=logits, context=context, near=near), rest

    def _from_whole_pictures(
        self, conn: Connection, project_id: int, image_id: int, asked: Sequence[int]
    ) -> list[Candidate]:
        """Candidates by a vote of the most similar whole pictures, else by how frequent a category is."""
        self.features(conn, project_id)
        room = self._room(project_id)
        whole = room.whole
        try:
            nearest = None if whole is None else whole.nearest(conn, image_id, WHOLE_K)
        except ArtifactDamaged as error:
            _features_damaged(room, error)
            nearest = None
        prior = np.array([room.states.base_rate(category_id) for category_id in asked])
        if nearest is None:
            return from_priors(asked, prior)
        ids, similarities = nearest
        near = Near(ids=ids, similarities=similarities, states=np.zeros(len(ids), np.int8))
        return from_whole_pictures(
            near, asked, prior=prior, cells=room.states.block(ids.tolist(), list(asked))
        )

    def attention(
        self, conn: Connection, project_id: int, image_id: int, category_id: int
    ) -> tuple[int, np.ndarray]:
        """Generation and relevance (h, w) uint8 of a cell's locations; NotFound says why there is none."""
        generation, problem = self.generation(conn, project_id)
        if generation is None:
            raise NotFound(
                problem or "There is no trained generation yet, so the model has not looked anywhere."
            )
        row, column = generation.row(image_id), generation.column(category_id)
        if row is None:
            raise NotFound(
                f"Image {image_id} came after generation {generation.id}; the next training looks at it."
            )
        if column is None:
            raise NotFound(f"Generation {generation.id} has not learned category {category_id} yet.")
        values = generation.attention(row, column)
        if values is None:
            raise NotFound(f"Generation {generation.id} keeps no attention: it would be over the size limit.")
        return generation.id, values


def _features_damaged(room: _Room, error: ArtifactDamaged) -> None:
    if room.feature_problem != str(error):
        _log.error("%s", error)
        room.feature_problem = str(error)


def _nothing_to_show(states: ProjectStates, *, active: list[int], unknown: list[int]) -> str:
    """What the person should do next."""
    if not active:
        return NO_CATEGORY
    if not unknown:
        return ALL_DECIDED
    return NO_YES if states.anything else NOTHING_LABELLED
