"""A site where everybody has an account, and people who sign in to it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import Connection

from annotator.actions.passwords import Passwords
from annotator.people import Role
from annotator.settings import Settings
from annotator.store import Store, members, now_ms, sessions, users
from tests.browser.site import Site, running
from tests.browser.surface import Annotate

PASSWORD = "correct horse battery"
_numbers = count(1)
_HASH = Passwords().hash(PASSWORD)


@dataclass(frozen=True)
class Person:
    """An account that may annotate one project."""

    id: int
    name: str
    site: Site
    project_id: int

    def at(self, page: Page) -> Annotate:
        """Sign in as a person does, and open the surface."""
        page.goto(f"{self.site.url}/login")
        page.get_by_label("Name").fill(self.name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        return Annotate(page, self.site, self.project_id).open()

    def expire(self) -> None:
        """End every session of this person."""
        self.site.store.write(lambda c: sessions.delete_all(c, self.id))

    def take_part(self, role: Role | None) -> None:
        """Give or take away a role in the project."""

        def work(c: Connection) -> None:
            if role is None:
                members.remove(c, self.project_id, self.id)
            else:
                members.put(c, self.project_id, self.id, role, now=now_ms())

        self.site.store.write(work)


def invite(site: Site, project_id: int, name: str) -> Person:
    """A new account with the role of an annotator."""
    full = f"{name} {next(_numbers)}"
    made = site.store.write(lambda c: users.create(c, full, _HASH, now=now_ms()))
    person = Person(made.id, full, site, project_id)
    person.take_part(Role.ANNOTATOR)
    return person


@contextmanager
def guarded(migrated: Path, folder: Path) -> Iterator[Site]:
    """A running site that lets nobody in without signing in."""
    settings = Settings(
        data_dir=folder / "data", backbone="tiny", threads=1, random_share=0, single_user=False
    )
    settings.data_dir.mkdir(parents=True)
    shutil.copyfile(migrated, settings.database)
    store = Store.open(settings)
    try:
        owner = store.write(lambda c: users.owner(c, now=now_ms()))
        store.write(lambda c: users.set_password(c, owner, _HASH))
        with running(store, settings) as site:
            yield site
    finally:
        store.close()


class Dialog:
    """The sign-in dialog of a surface."""

    def __init__(self, annotate: Annotate) -> None:
        self.box: Locator = annotate.part("signin")

    def shown(self) -> Dialog:
        """Wait until it is open."""
        expect(self.box).to_be_visible()
        return self

    def sign_in(self, name: str, password: str = PASSWORD) -> None:
        """Fill and send it."""
        self.box.get_by_label("Name").fill(name)
        self.box.get_by_label("Password").fill(password)
        self.box.get_by_role("button", name="Sign in").click()


def own_name(request: pytest.FixtureRequest) -> str:
    """A project name of this test and of this try of it."""
    tries = getattr(request.node, "execution_count", 1)
    return request.node.name if tries <= 1 else f"{request.node.name} {tries}"
