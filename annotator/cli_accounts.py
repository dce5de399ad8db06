"""`annotator user`: whoever can start the program on this machine is the administrator of its server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from annotator.actions import Actions
from annotator.cli_common import DataDir, load_settings, opened, out, project_named
from annotator.errors import AnnotatorError, NotFound
from annotator.network import scheme
from annotator.people import Grant, Offer, OpenInvitation, Role, User
from annotator.settings import Settings
from annotator.store.names import twin_key

users = typer.Typer(
    help="Accounts: list, invite and withdraw, disable, enable, reset a password.",
    no_args_is_help=True,
)

UserName = Annotated[str, typer.Argument(help="Name of the account.")]


@users.command("list")
def list_(data_dir: DataDir = None) -> None:
    """Every account with its roles."""
    with opened(load_settings(data_dir=data_dir), "user list") as (_, actions):
        names = {project.id: project.name for project in actions.projects(archived=True)}
        for user in actions.accounts.users(actions.accounts.machine()):
            roles = actions.accounts.me(user.id).roles
            said = [f"{names[project_id]}: {role}" for project_id, role in sorted(roles.items())]
            what = "server admin" if user.is_admin else ", ".join(said) or "in no project"
            marks = ["disabled"] if user.disabled_at is not None else []
            marks += [] if user.has_password else ["no password yet"]
            _say("  ".join([user.name, what, *marks]))


@users.command()
def invite(
    project: Annotated[str, typer.Option("--project", help="Name of the project.")] = "",
    role: Annotated[str, typer.Option(help="admin, reviewer, annotator or viewer.")] = "annotator",
    admin: Annotated[bool, typer.Option("--admin", help="Invite an administrator of the server.")] = False,
    data_dir: DataDir = None,
) -> None:
    """A link that makes an account, once, within seven days."""
    if admin == bool(project):
        raise AnnotatorError("Give --project with a role, or --admin for an administrator of the server.")
    if role not in set(Role):
        raise AnnotatorError(f"There is no role {role!r}; there is: {', '.join(Role)}.")
    settings = load_settings(data_dir=data_dir)
    with opened(settings, "user invite") as (_, actions):
        by = actions.accounts.machine()
        if admin:
            made = actions.inviting.invite_admin(by)
        else:
            made = actions.inviting.invite(by, project_named(actions, project, create=False).id, Role(role))
    _tell(settings, made)


@users.command()
def invitations(data_dir: DataDir = None) -> None:
    """Every link that can still be used; its secret is not kept, so that nothing can show it again."""
    with opened(load_settings(data_dir=data_dir), "user invitations") as (_, actions):
        found = actions.inviting.open_ones(actions.accounts.machine())
    for one in found:
        marks = [] if one.counts else ["does not count now"]
        said = [one.name, _purpose(one), f"by {one.made_by}", f"until {_until(one.expires_at)}"]
        _say("  ".join([*said, *marks]))
    if not found:
        _say("There is no open invitation.")


@users.command()
def withdraw(
    name: Annotated[str, typer.Argument(help="Name of the invitation, or the first signs of it.")],
    data_dir: DataDir = None,
) -> None:
    """End an invitation: its link works no more."""
    with opened(load_settings(data_dir=data_dir), "user withdraw") as (_, actions):
        actions.inviting.withdraw(actions.accounts.machine(), name)
    _say(f"The invitation {name} is withdrawn.")


@users.command()
def disable(name: UserName, data_dir: DataDir = None) -> None:
    """Close an account: its sessions and tokens end, its answers stay."""
    with opened(load_settings(data_dir=data_dir), "user disable") as (_, actions):
        actions.accounts.disable(actions.accounts.machine(), _named(actions, name).id)
    _say(f"{name} is disabled.")


@users.command()
def enable(name: UserName, data_dir: DataDir = None) -> None:
    """Open a closed account again."""
    with opened(load_settings(data_dir=data_dir), "user enable") as (_, actions):
        actions.accounts.enable(actions.accounts.machine(), _named(actions, name).id)
    _say(f"{name} is enabled.")


@users.command("reset-password")
def reset_password(name: UserName, data_dir: DataDir = None) -> None:
    """A link with which the person chooses a new password; the old one works until then."""
    settings = load_settings(data_dir=data_dir)
    with opened(settings, "user reset-password") as (_, actions):
        made = actions.inviting.reset(actions.accounts.machine(), _named(actions, name).id)
    _tell(settings, made)


def _named(actions: Actions, name: str) -> User:
    found = actions.accounts.users(actions.accounts.machine())
    for user in found:
        if twin_key(user.name) == twin_key(name):
            return user
    raise NotFound(f"There is no user {name!r}; there is: {', '.join(user.name for user in found)}.")


def _purpose(one: OpenInvitation) -> str:
    if one.grant is Grant.RESET:
        return f"new password of {one.account}"
    return "server admin" if one.project_name is None else f"{one.project_name}: {one.grant}"


def _until(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _tell(settings: Settings, made: Offer) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    _say(f"This link works once, until {_until(made.expires_at)}, and is not shown again:")
    _say(f"{scheme(settings)}://{host}:{settings.port}{made.path}")
    _say("The address is that of the settings; whatever else leads to the server may stand before /invite/.")


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
