"""A path typed on the page leads everywhere on the server's machine: only its administrator may type one."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest

from annotator.actions import Actions
from annotator.people import Role
from annotator.settings import Settings
from annotator.store import Store, images, members, projects, users
from annotator.ui.door import Door
from annotator.ui.import_tab import ImportTab
from tests import running
from tests.annotator.ui.asking import sent_by
from tests.conftest import NOW, picture_bytes


@pytest.mark.parametrize("inside", [True, False])
def test_an_admin_of_a_project_sees_no_files_of_the_server(
    store: Store, settings: Settings, tmp_path: Path, inside: bool
) -> None:
    actions = Actions(store, settings)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "secret.jpg").write_bytes(picture_bytes(".jpg"))
    theirs, mine = (
        store.write(lambda c, name=name: projects.create(c, name, now=NOW)) for name in ("a", "b")
    )
    actions.import_folder(theirs.id, tmp_path / "theirs")
    eve = store.write(lambda c: users.create(c, "eve", None, now=NOW)).id
    store.write(lambda c: members.put(c, mine.id, eve, Role.ADMIN, now=NOW))

    async def built() -> ImportTab:  # without a loop Gradio opens one for each of its locks and leaves it
        with gr.Blocks(), gr.Tabs(), gr.Tab("Import") as tab:
            return ImportTab(Door(actions, sign_in=True), tab, settings.data_dir / "demo")

    page = running.run(built())
    typed = settings.data_dir / "originals" if inside else tmp_path / "theirs"
    said = page.on_folder(sent_by(eve), mine.id, str(typed))
    assert "administrator" in str(said[0])
    with store.read() as c:
        assert images.count(c, mine.id) == 0
    owner = store.write(lambda c: users.owner(c, now=NOW))
    page.on_folder(sent_by(owner), mine.id, str(tmp_path / "theirs"))
    with store.read() as c:
        assert images.count(c, mine.id) == 1
