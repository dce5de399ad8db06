"""On which file system the data lies is read from the system, and network ones get no write-ahead log."""

from __future__ import annotations

from pathlib import Path

import pytest

from db.engine import facts, make_engine
from db.place import file_system_of, is_network

MOUNTS = r"""21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
22 21 0:5 / /proc rw - proc proc rw
30 21 0:40 / /srv/shared rw,relatime shared:5 - nfs4 server:/export rw,vers=4.2
31 30 0:41 / /srv/shared/fast rw - xfs /dev/sdb1 rw
32 21 0:42 / /mnt/my\040share rw - cifs //server/share rw
33 21 0:43 / /mnt/twice rw - ext4 /dev/sdc1 rw
34 33 0:44 / /mnt/twice rw - fuse.sshfs me@host: rw
nonsense
"""


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/home/me/data", "ext4", False),
        ("/srv/shared/data", "nfs4", True),
        ("/srv/shared/fast/data", "xfs", False),
        ("/srv/sharedness", "ext4", False),
        ("/mnt/my share/data", "cifs", True),
        ("/mnt/twice/data", "fuse.sshfs", True),
    ],
)
def test_the_deepest_and_latest_mount_counts(tmp_path: Path, path: str, kind: str, network: bool) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert file_system_of(Path(path), mounts=mounts) == kind
    assert is_network(kind) is network


def test_a_system_without_that_file_says_nothing(tmp_path: Path) -> None:
    assert file_system_of(tmp_path, mounts=tmp_path / "missing") == "" and not is_network("")


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_file_system_gets_a_rollback_journal_with_full_durability(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("db.engine.file_system_of", lambda _: kind)
    engine = make_engine(tmp_path / "a.db")
    try:
        found = facts(engine)
    finally:
        engine.dispose()
    assert (found.journal, found.synchronous, found.file_system) == ("delete", 2, kind)
