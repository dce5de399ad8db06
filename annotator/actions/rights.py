"""Who may do what in which project: one place that the API, the page and the terminal ask.

Somebody who may not see a project is told what they would be told about a project that does not exist.
"""

from __future__ import annotations

from sqlalchemy import Connection

from annotator.errors import Gone, NotAllowed, NotFound
from annotator.people import Role, Standing
from annotator.store import Store, members, users


class Rights:
    """Every answer is read from the store, so that a change counts from the next question on. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def role_of(self, user_id: int, project_id: int) -> Role:
        """The role of a user, `ADMIN` for a server admin; NotFound when the user may not see the project."""
        with self._store.read() as c:
            return role_in(c, user_id, project_id)

    def need(self, user_id: int, project_id: int, least: Role, *, archived: bool = False) -> Role:
        """The role, when it reaches `least`.

        NotFound without any role, NotAllowed below `least`, Gone for an archived project unless `archived`
        says that the request is meant for those too.
        """
        with self._store.read() as c:
            return need_in(c, user_id, project_id, least, archived=archived)

    def need_for_image(self, user_id: int, image_id: int, least: Role) -> Role:
        """The same for the project that an image belongs to."""
        with self._store.read() as c:
            standing = members.standing_by_image(c, user_id, image_id)
        return _judged(standing, f"There is no image {image_id}.", least, archived=False)

    def need_admin(self, user_id: int) -> None:
        """NotAllowed unless the user may do everything on this server."""
        with self._store.read() as c:
            need_admin_in(c, user_id)


def role_in(c: Connection, user_id: int, project_id: int) -> Role:
    """`Rights.role_of` within a transaction."""
    return need_in(c, user_id, project_id, Role.VIEWER, archived=True)


def need_in(c: Connection, user_id: int, project_id: int, least: Role, *, archived: bool = False) -> Role:
    """`Rights.need` within a transaction."""
    standing = members.standing(c, user_id, project_id)
    return _judged(standing, f"There is no project {project_id}.", least, archived=archived)


def need_admin_in(c: Connection, user_id: int) -> None:
    """`Rights.need_admin` within a transaction."""
    user = users.get(c, user_id)
    if not user.is_admin or user.disabled_at is not None:
        raise NotAllowed("Only an administrator of this server may do this.")


def _judged(standing: Standing | None, missing: str, least: Role, *, archived: bool) -> Role:
    if standing is None or standing.role is None:
        raise NotFound(missing)
    if not standing.role.reaches(least):
        raise NotAllowed(
            f'This needs the role "{least}" in project {standing.project_id}; yours is "{standing.role}".'
        )
    if standing.archived and not archived:
        raise Gone(f'The project "{standing.project_name}" is archived; an admin of it can restore it.')
    return standing.role
