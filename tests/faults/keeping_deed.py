"""One upgrade, backup, restore or removal in a process of its own, to be killed.

    python -m tests.faults.keeping_deed

reads lines SAID DEED FOLDER GATE, as `one_deed` does. FOLDER has `data/` and, for a restore, `backup.tar`.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, Engine, create_engine, event

from annotator.actions import Actions
from annotator.keeping import purge as purging
from annotator.keeping.backup import back_up
from annotator.keeping.restore import restore
from annotator.settings import Settings
from annotator.store import Store
from db import migrate
from db.engine import sqlite_module
from tests.faults.light_server import fork_for_every_line, say


def engine_without_transactions(path: Path) -> Engine:
    """What `make_engine` would give if it forgot BEGIN: every statement is its own transaction."""
    engine = create_engine(URL.create("sqlite", database=str(path)), module=sqlite_module())
    event.listen(engine, "connect", lambda connection, _record: setattr(connection, "isolation_level", None))
    return engine


def purge(data_dir: Path) -> None:
    """Remove the archived project "birds" for good, a picture at a time."""
    purging.PICTURES = 1
    settings = Settings(data_dir=data_dir, backbone="tiny")
    store = Store.open(settings)
    actions = Actions(store, settings)
    by = actions.accounts.machine()
    (found,) = actions.removing.leaving(by)
    actions.removing.purge(by, found.project.id, "birds", purging.silent)
    store.close()


def do(deed: str, folder: str, gate: str) -> None:
    """Do `deed` (upgrade, torn-upgrade, backup, backup-folder, restore, purge) once the gate was open."""
    place = Path(folder)
    Path(gate).read_bytes()
    if deed.endswith("upgrade"):
        if deed == "torn-upgrade":
            migrate.make_engine = engine_without_transactions
        migrate.upgrade(place / "data" / "annotator.db")
    elif deed == "restore":
        restore(place / "backup.tar", place / "data", replace=True)
    elif deed == "purge":
        purge(place / "data")
    else:
        back_up(place / "data", place / ("made.tar" if deed == "backup" else "made"))
    say("ended")


if __name__ == "__main__":
    fork_for_every_line(do)
