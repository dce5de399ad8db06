"""One save or one import in a process of its own, to be killed.

    python -m tests.faults.one_deed

reads lines SAID DEED DATA_DIR GATE. The process forked for each waits until somebody has opened the named
pipe GATE for writing and closed it, does the deed, says `acknowledged`, closes the store and says `ended`.
"""

from __future__ import annotations

from pathlib import Path

from annotator.actions import Actions
from annotator.records import CellState, NewDecision
from annotator.settings import Settings
from annotator.store import Store, categories, images
from tests.faults.light_server import fork_for_every_line, say

OPS = tuple(f"one-save.{place}" for place in range(8))


def save(actions: Actions, store: Store, project: int, *, at_once: int = len(OPS)) -> None:
    """Eight answers for one picture, `at_once` of them in each transaction."""
    with store.read() as c:
        image = images.ids(c, project)[0]
        columns = [category.id for category in categories.list_active(c, project)]
    new = [
        NewDecision(op_id=op, image_id=image, category_id=column, state=CellState.POSITIVE)
        for op, column in zip(OPS, columns, strict=True)
    ]
    for first in range(0, len(new), at_once):
        actions.decide(project, new[first : first + at_once])


def do(deed: str, folder: str, gate: str) -> None:
    """Do `deed` (save, torn save, pictures or labels) in the data folder once the gate has been open."""
    Path(gate).read_bytes()
    settings = Settings(data_dir=Path(folder), backbone="tiny")
    store = Store.open(settings)
    actions = Actions(store, settings)
    project = actions.projects()[0].id
    if deed == "save":
        save(actions, store, project)
    elif deed == "torn save":
        save(actions, store, project, at_once=4)
    elif deed == "pictures":
        report = actions.import_folder(project, settings.data_dir.parent / "pictures")
        assert not report.refused, report
    else:
        actions.import_labels(project, settings.data_dir.parent / "labels.csv")
    say("acknowledged")
    store.close()
    say("ended")


if __name__ == "__main__":
    fork_for_every_line(do)
