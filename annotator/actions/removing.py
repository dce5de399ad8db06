"""Removing archived projects for good, for administrators of the server."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from sqlalchemy import Connection

from annotator.actions.rights import need_admin_in
from annotator.errors import BadInput
from annotator.keeping import purge as purging_files
from annotator.keeping.purge import OnProgress, Purged
from annotator.records import Project
from annotator.settings import Settings
from annotator.store import Store, projects, purging
from annotator.store.clock import now_ms


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """A project that was put away; `from_ms`: from when on it can be removed, `begun`: half of it is."""

    project: Project
    from_ms: int
    begun: bool


class Removing:
    """What is begun here nobody can undo; whoever runs on this data folder may finish it. Thread-safe."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def leaving(self, by: int) -> list[Leaving]:
        """Every archived project, and every one whose removal has begun."""
        with self._store.read() as c:
            need_admin_in(c, by)
            put = [one for one in projects.list_all(c, archived=True) if one.archived_at is not None]
            begun = purging.unfinished(c)
        return [
            *(Leaving(project=one, from_ms=self.removable_from(one) or 0, begun=True) for one in begun),
            *(Leaving(project=one, from_ms=self.removable_from(one) or 0, begun=False) for one in put),
        ]

    def removable_from(self, project: Project) -> int | None:
        """The time from which a project can be removed; None while it is not archived."""
        if project.archived_at is None:
            return None
        return project.archived_at + purging_files.keep_ms(self._settings)

    def begin(self, by: int, project_id: int, typed: str) -> None:
        """Take an archived project away for good; `typed` is its name. The worker removes what was in it.

        NotAllowed unless `by` is an administrator of the server; NotFound, BadInput for another name,
        Conflict when it is not archived for long enough yet.
        """

        def work(c: Connection) -> None:
            need_admin_in(c, by)
            purging.begin(
                c,
                project_id,
                unicodedata.normalize("NFC", typed),
                user_id=by,
                keep_ms=purging_files.keep_ms(self._settings),
                now=now_ms(),
            )

        self._store.write(work)

    def purge(self, by: int, project_id: int, typed: str, on_progress: OnProgress) -> Purged:
        """`begin`, unless it has begun, and then all of it at once, here."""
        purging_files.sweep(self._store)
        with self._store.read() as c:
            need_admin_in(c, by)
            begun = next((one for one in purging.unfinished(c) if one.id == project_id), None)
        if begun is None:
            self.begin(by, project_id, typed)
        elif unicodedata.normalize("NFC", typed) != begun.name:
            raise BadInput("name: type the name of the project exactly as it is to remove it for good.")
        return purging_files.finish(self._store, project_id, on_progress=on_progress)
