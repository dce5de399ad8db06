"""Rights as the page and the API ask for them, and what each role may do in words."""

from __future__ import annotations

import itertools

import pytest

from annotator.actions import Actions
from annotator.errors import BadInput, Conflict, Gone, NotAllowed, NotFound
from annotator.people import Role
from annotator.records import Project
from annotator.settings import Settings
from annotator.store import Store, members, projects, users

NOW = 1_790_000_000_000


@pytest.fixture
def actions(store: Store, settings: Settings) -> Actions:
    return Actions(store, settings)


def person(store: Store, name: str, *, is_admin: bool = False) -> int:
    return store.write(lambda c: users.create(c, name, None, is_admin=is_admin, now=NOW)).id


def test_each_role_may_do_what_those_below_it_may() -> None:
    order = [Role.VIEWER, Role.ANNOTATOR, Role.REVIEWER, Role.ADMIN]
    for (low, one), (high, other) in itertools.product(enumerate(order), repeat=2):
        assert one.reaches(other) is (low >= high)


def test_a_role_is_read_anew_each_time(actions: Actions, store: Store, project: Project) -> None:
    ann = person(store, "ann")
    with pytest.raises(NotFound, match=f"There is no project {project.id}."):
        actions.role_of(ann, project.id)
    for role in Role:
        store.write(lambda c, role=role: members.put(c, project.id, ann, role, now=NOW))
        assert actions.role_of(ann, project.id) is role
    store.write(lambda c: members.remove(c, project.id, ann))
    with pytest.raises(NotFound):
        actions.role_of(ann, project.id)


def test_a_server_admin_is_admin_everywhere_until_disabled(
    actions: Actions, store: Store, project: Project
) -> None:
    ida = person(store, "ida", is_admin=True)
    assert actions.role_of(ida, project.id) is Role.ADMIN
    actions.rights.need_admin(ida)
    store.write(lambda c: users.set_disabled(c, ida, NOW))
    with pytest.raises(NotFound):
        actions.role_of(ida, project.id)
    with pytest.raises(NotAllowed):
        actions.rights.need_admin(ida)


def test_need_names_the_role_that_is_missing_and_the_archive(
    actions: Actions, store: Store, project: Project
) -> None:
    ann = person(store, "ann")
    store.write(lambda c: members.put(c, project.id, ann, Role.ANNOTATOR, now=NOW))
    assert actions.rights.need(ann, project.id, Role.VIEWER) is Role.ANNOTATOR
    with pytest.raises(NotAllowed, match=r'needs the role "reviewer".*yours is "annotator"'):
        actions.rights.need(ann, project.id, Role.REVIEWER)
    store.write(lambda c: projects.set_archived(c, project.id, NOW))
    with pytest.raises(Gone, match='"holiday" is archived'):
        actions.rights.need(ann, project.id, Role.VIEWER)
    with pytest.raises(NotAllowed):
        actions.rights.need(ann, project.id, Role.ADMIN)
    assert actions.rights.need(ann, project.id, Role.VIEWER, archived=True) is Role.ANNOTATOR


@pytest.mark.parametrize("number", [0, -1, 2**63, 10**30])
def test_a_number_that_cannot_be_an_id_is_not_found(actions: Actions, user_id: int, number: int) -> None:
    with pytest.raises(NotFound):
        actions.role_of(user_id, number)
    with pytest.raises(NotFound):
        actions.rights.need_for_image(user_id, number, Role.VIEWER)


def test_projects_are_listed_by_who_may_see_them(actions: Actions, store: Store, project: Project) -> None:
    ann, ida = person(store, "ann"), person(store, "ida", is_admin=True)
    other = actions.create_project("other")
    store.write(lambda c: members.put(c, project.id, ann, Role.VIEWER, now=NOW))
    assert [found.id for found in actions.projects(ann)] == [project.id]
    assert [found.id for found in actions.projects(ida)] == [project.id, other.id]
    assert [found.id for found, _ in actions.project_sizes(ann)] == [project.id]
    store.write(lambda c: projects.set_archived(c, project.id, NOW))
    assert actions.projects(ann) == [] and [found.id for found in actions.projects()] == [other.id]
    assert [found.id for found in actions.projects(ann, archived=True)] == [project.id]


def test_the_name_of_an_archived_project_is_still_taken(
    actions: Actions, store: Store, project: Project
) -> None:
    store.write(lambda c: projects.set_archived(c, project.id, NOW))
    with pytest.raises((BadInput, Conflict), match='archived project named "holiday"'):
        actions.create_project("holiday")


def test_archiving_cancels_what_waits(actions: Actions, store: Store, project: Project, user_id: int) -> None:
    from annotator.store import jobs

    store.write(lambda c: jobs.request(c, project.id, "retrain", wanted_seq=0, now=NOW))
    actions.membership.archive(user_id, project.id, "holiday")
    with store.read() as c:
        assert jobs.active(c, project.id) == []


def test_who_acts_on_this_machine_is_always_an_open_administrator(actions: Actions, store: Store) -> None:
    owner = store.write(lambda c: users.owner(c, now=NOW))
    ida = person(store, "ida", is_admin=True)
    assert actions.accounts.machine() == owner
    actions.accounts.disable(ida, owner)
    assert actions.accounts.machine() == ida
    with pytest.raises(Conflict, match="last administrator"):
        actions.accounts.disable(ida, ida)
