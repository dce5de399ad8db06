"""Projects and who belongs to them: members, new projects, archive and back."""

from __future__ import annotations

import unicodedata

from sqlalchemy import Connection

from annotator.actions.rights import need_admin_in, need_in
from annotator.errors import BadInput, NotFound
from annotator.people import Member, Role
from annotator.records import Project
from annotator.store import Store, deeds, jobs, members, projects, users
from annotator.store.clock import now_ms


class Membership:
    """One transaction and one deed per method. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def members(self, by: int, project_id: int) -> list[Member]:
        """The members of a project, for anybody in it."""
        with self._store.read() as c:
            need_in(c, by, project_id, Role.VIEWER, archived=True)
            return members.of_project(c, project_id)

    def set_role(self, by: int, project_id: int, user_id: int, role: Role) -> None:
        """Give a user a role in a project.

        A project's admin can take people whom another common project made known, a server admin everybody;
        for anybody else NotFound, as for an account that does not exist.
        """

        def work(c: Connection) -> None:
            need_in(c, by, project_id, Role.ADMIN, archived=True)
            if not users.get(c, by).is_admin and not members.share_a_project(c, by, user_id):
                raise NotFound(f"There is no user {user_id}.")
            members.put(c, project_id, user_id, role, now=now_ms())
            detail = {"account": user_id, "role": role.value}
            deeds.add(c, "set_role", user_id=by, now=now_ms(), project_id=project_id, **detail)

        self._store.write(work)

    def remove(self, by: int, project_id: int, user_id: int) -> None:
        """Take a user out of a project; the answers stay."""

        def work(c: Connection) -> None:
            need_in(c, by, project_id, Role.ADMIN, archived=True)
            if not members.remove(c, project_id, user_id):
                raise NotFound(f"There is no user {user_id}.")
            deeds.add(c, "remove", user_id=by, now=now_ms(), project_id=project_id, account=user_id)

        self._store.write(work)

    def create_project(self, by: int, name: str) -> Project:
        """A new project, by a server admin."""

        def work(c: Connection) -> Project:
            need_admin_in(c, by)
            made = projects.create(c, name, now=now_ms())
            deeds.add(c, "create_project", user_id=by, now=now_ms(), project_id=made.id)
            return made

        return self._store.write(work)

    def archive(self, by: int, project_id: int, typed: str) -> None:
        """Put a project away with all that is in it; `typed` is its name. Its trainings are cancelled."""

        def work(c: Connection) -> None:
            need_in(c, by, project_id, Role.ADMIN)
            if unicodedata.normalize("NFC", typed) != projects.get(c, project_id).name:
                raise BadInput("name: type the name of the project exactly as it is to archive it.")
            projects.set_archived(c, project_id, now_ms())
            for job in jobs.active(c, project_id):
                jobs.cancel(c, job.id, now=now_ms())
            deeds.add(c, "archive", user_id=by, now=now_ms(), project_id=project_id)

        self._store.write(work)

    def restore(self, by: int, project_id: int) -> None:
        """Bring an archived project back as it was."""

        def work(c: Connection) -> None:
            need_in(c, by, project_id, Role.ADMIN, archived=True)
            projects.set_archived(c, project_id, None)
            deeds.add(c, "restore", user_id=by, now=now_ms(), project_id=project_id)

        self._store.write(work)
