"""Keeps the vectors of the categories' names that the web side guesses from (`suggesting/names.py`)."""

from __future__ import annotations

import logging

from annotator.artifacts import write_atomic
from annotator.records import Category
from annotator.settings import Settings
from annotator.store import Store, categories, projects
from annotator.suggesting.names import KeptNames, NameVectors, names_file
from dsrb_core.category_vectors import LEARNED, TEXT, Vectors, category_vectors, text_installed

log = logging.getLogger(__name__)


def source_of_names(settings: Settings) -> str:
    """Where vectors come from: what the model was told to use, else the text model where it is installed.

    LEARNED when there is neither: then nothing is guessed from names.
    """
    if settings.category_vectors != LEARNED:
        return settings.category_vectors
    return TEXT if text_installed() else LEARNED


class Names:
    """Writes the vectors of a project whenever the names of its active categories are not those written."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._source = source_of_names(settings)
        self._broken = False
        self._kept: dict[int, KeptNames] = {}

    def refresh(self) -> bool:
        """Bring one project up to date; False when there was nothing to do.

        A source that cannot be used is logged once and not tried again by this process.
        """
        if self._source == LEARNED or self._broken:
            return False
        with self._store.read() as c:
            active = {one.id: categories.list_active(c, one.id) for one in projects.list_all(c)}
        for project_id, found in active.items():
            path = names_file(self._store.data_dir, project_id)
            wanted = {one.id: one.name for one in found}
            kept = self._kept.setdefault(project_id, KeptNames(path)).now()
            if kept is None and not wanted:
                continue
            if kept is not None and kept.source == self._source and dict(kept.names) == wanted:
                continue
            try:
                made = self._make(found, kept)
            except RuntimeError as error:
                log.warning("Nothing is guessed from names: %s", error)
                self._broken = True
                return False
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, made.to_bytes())
            return True
        return False

    def _make(self, found: list[Category], kept: NameVectors | None) -> NameVectors:
        old = kept if kept is not None and kept.source == self._source else None
        vectors = {
            one.id: v for one in found if old is not None and (v := old.of(one.id, one.name)) is not None
        }
        new = [one for one in found if one.id not in vectors]
        vectors |= {
            one.id: vector for one, vector in zip(new, self._vectors(new), strict=True) if vector is not None
        }
        return NameVectors(source=self._source, names={one.id: one.name for one in found}, vectors=vectors)

    def _vectors(self, found: list[Category]) -> list[Vectors | None]:
        """A vector (S,) each; None for a name with a word the source does not know."""
        names = [category.name for category in found]
        if not names:
            return []
        try:
            table = category_vectors(self._source, names)
        except ValueError as error:
            if len(names) > 1:  # one of them: the others still have theirs
                return [vector for one in found for vector in self._vectors([one])]
            log.warning("Nothing is guessed from this name: %s", error)
            return [None]
        return [None] * len(names) if table is None else list(table)
