"""Bodies of the account routes: strict, bounded, nothing unknown in them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from annotator.people import Role

Name = Annotated[str, Field(min_length=1, max_length=1000)]
Password = Annotated[str, Field(min_length=1, max_length=2000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ProjectBody(_Body):
    """A project to start, or the name typed to confirm that it is put away."""

    name: Name


class PasswordBody(_Body):
    """One's own password, before and after."""

    old: Password
    new: Password


class TokenBody(_Body):
    """A token to make; without `days` it lasts until it is revoked."""

    name: Name
    days: Annotated[int, Field(ge=1, le=3650)] | None = None


class RoleBody(_Body):
    """A role in a project."""

    role: Literal["admin", "reviewer", "annotator", "viewer"]

    def chosen(self) -> Role:
        """The same as a role."""
        return Role(self.role)
