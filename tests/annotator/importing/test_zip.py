"""A-32: hostile archives are refused by what they declare, and what they declare binds what comes out."""

from __future__ import annotations

import io
import os
import resource
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotator.errors import BadFile, BadInput, TypeNotAccepted
from annotator.importing import import_files, import_zip
from annotator.importing import zipfile as archives
from annotator.importing.items import PIECE
from annotator.records import ImportReport, Project
from annotator.settings import Settings
from annotator.store import Store, images
from tests.conftest import picture_bytes


@pytest.fixture
def take(store: Store, project: Project, settings: Settings) -> Callable[..., ImportReport]:
    def taker(path: Path, **limits: Any) -> ImportReport:
        return import_zip(store, project.id, path, settings=settings.model_copy(update=limits))

    return taker


def names(store: Store, project: Project) -> list[str]:
    with store.read() as c:
        return [image.name for image in images.page(c, project.id, limit=1_000)]


def reasons(report: ImportReport) -> dict[str, str]:
    return {file.name: file.reason for file in report.refused}


def disk(folder: Path) -> dict[str, int]:
    """Every file below `folder` but the database's own."""
    return {
        str(path): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("annotator.db")
    }


def made(path: Path, members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return path


def lying(path: Path, name: str, *, size: int | None = None, packed: int | None = None) -> None:
    """Write other sizes of one member into both of its headers."""
    data = bytearray(path.read_bytes())
    for magic, sizes_at, name_at in ((b"PK\x03\x04", 18, 30), (b"PK\x01\x02", 20, 46)):
        place = -1
        while (place := data.find(magic, place + 1)) >= 0:
            if data[place + name_at :].startswith(name.encode()):
                for value, at in ((packed, sizes_at), (size, sizes_at + 4)):
                    if value is not None:
                        struct.pack_into("<I", data, place + at, value)
    path.write_bytes(data)


def overlapping(path: Path, entries: int) -> Path:
    """One compressed body that `entries` entries of the list point at."""
    body = picture_bytes(".bmp", size=(300, 300))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(body) + packer.flush()
    crc = zlib.crc32(body)
    sizes = struct.pack("<III", crc, len(packed), len(body))
    local = (
        b"PK\x03\x04" + struct.pack("<HHHHH", 20, 0, 8, 0, 33) + sizes + struct.pack("<HH", 5, 0) + b"a.bmp"
    )
    head = struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 33) + sizes + struct.pack("<HHHHHII", 5, 0, 0, 0, 0, 0, 0)
    listed = (b"PK\x01\x02" + head + b"a.bmp") * entries
    start = len(local) + len(packed)
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, entries, entries, len(listed), start, 0)
    path.write_bytes(local + packed + listed + end)
    return path


def test_200_kb_that_would_be_200_mb_is_refused_and_the_disk_is_as_before(
    tmp_path: Path, store: Store, project: Project, take: Callable[..., ImportReport]
) -> None:
    path = made(tmp_path / "a.zip", [(f"{n}.bmp", b"BM" + bytes(20 << 20)) for n in range(10)])
    assert path.stat().st_size < 250_000
    before = disk(store.data_dir)
    with pytest.raises(BadFile, match=r"a.zip: it would unpack to \d+ times its size"):
        take(path)
    assert disk(store.data_dir) == before and names(store, project) == []


def test_entries_that_share_bytes_are_refused(
    tmp_path: Path, store: Store, take: Callable[..., ImportReport]
) -> None:
    before = disk(store.data_dir)
    with pytest.raises(BadFile, match=r"its entry 'a.bmp' overlaps with 'a.bmp'"):
        take(overlapping(tmp_path / "a.zip", 30))
    assert disk(store.data_dir) == before
    assert take(overlapping(tmp_path / "b.zip", 1)).added == 1


def test_100000_entries_are_refused(tmp_path: Path, take: Callable[..., ImportReport]) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(100_000):
            archive.writestr(zipfile.ZipInfo(f"{number}"), b"")
    with pytest.raises(BadFile, match="it has 100000 entries, the limit is 50000"):
        take(path)
    with pytest.raises(BadFile, match=r"its list of entries has \d+ bytes, the limit is 1048576"):
        take(path, zip_entries=100)


def test_the_list_of_entries_is_not_read_when_it_is_huge(
    tmp_path: Path, take: Callable[..., ImportReport]
) -> None:
    """A list of 4 GB would be read into memory at once; this one is a hole in a sparse file."""
    path = tmp_path / "a.zip"
    size = 3 << 30
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 9, 9, size, 0, 0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadFile, match="its list of entries has 3221225472 bytes"):
        take(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_member_that_says_it_is_smaller_gives_no_more_than_it_says(
    tmp_path: Path, store: Store, project: Project, take: Callable[..., ImportReport]
) -> None:
    path = made(tmp_path / "a.zip", [("a.bmp", b"BM" + bytes(64 << 20)), ("good.jpg", picture_bytes())])
    lying(path, "a.bmp", size=1_000)
    report = take(path)
    assert (report.added, list(reasons(report))) == (1, ["a.bmp"])
    assert "damaged in the archive" in reasons(report)["a.bmp"]


def test_no_more_than_a_piece_is_ever_unpacked_at_once(
    tmp_path: Path, take: Callable[..., ImportReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    original = zipfile.ZipExtFile._read1  # type: ignore[attr-defined]

    def spy(self: Any, size: int) -> bytes:
        asked.append(size)
        found: bytes = original(self, size)
        return found

    monkeypatch.setattr(zipfile.ZipExtFile, "_read1", spy)
    path = made(tmp_path / "a.zip", [("a.bmp", picture_bytes(".bmp", size=(1200, 1000)))])
    assert take(path).added == 1
    assert asked and max(asked) <= PIECE


@pytest.mark.parametrize(("size", "packed"), [(10 << 20, None), (None, 1 << 30), (None, 3)])
def test_sizes_that_are_not_true_are_found(
    tmp_path: Path, take: Callable[..., ImportReport], size: int | None, packed: int | None
) -> None:
    path = made(tmp_path / "a.zip", [("good.jpg", picture_bytes()), ("a.jpg", picture_bytes(seed=1))])
    lying(path, "a.jpg", size=size, packed=packed)
    if packed == 1 << 30:
        with pytest.raises(BadFile, match=r"its entry 'a.jpg' ends beyond"):
            take(path)
        return
    report = take(path)
    assert (report.added, list(reasons(report))) == (1, ["a.jpg"])


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_packing_are_not_read(
    tmp_path: Path, take: Callable[..., ImportReport], method: int
) -> None:
    path = made(tmp_path / "a.zip", [("a.jpg", picture_bytes())], method)
    with pytest.raises(BadInput, match=f"a.jpg: it is packed by method {method}, which is not read"):
        take(path)


def test_a_name_twice_is_taken_once_and_case_twins_both(
    tmp_path: Path, store: Store, project: Project, take: Callable[..., ImportReport]
) -> None:
    members = [("a.jpg", 1), ("b/x.jpg", 2), ("A.JPG", 3), ("b\\x.jpg", 4)]
    path = made(tmp_path / "a.zip", [(name, picture_bytes(seed=seed)) for name, seed in members])
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a.jpg", picture_bytes(seed=5))
    report = take(path)
    assert names(store, project) == ["a.jpg", "b/x.jpg", "A.JPG"]
    assert [(file.name, file.reason) for file in report.refused] == [
        ("b/x.jpg", "the archive has this name twice; the first is taken"),
        ("a.jpg", "the archive has this name twice; the first is taken"),
    ]


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFLNK])
def test_what_is_no_regular_file_is_refused(
    tmp_path: Path, take: Callable[..., ImportReport], kind: int
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        odd = zipfile.ZipInfo("odd.jpg")
        odd.external_attr = (kind | 0o666) << 16
        archive.writestr(odd, picture_bytes(seed=1))
        archive.writestr("good.jpg", picture_bytes(seed=2))
    report = take(tmp_path / "a.zip")
    assert report.added == 1 and list(reasons(report)) == ["odd.jpg"]


def test_archives_in_archives_are_listed_and_never_opened(
    tmp_path: Path, take: Callable[..., ImportReport]
) -> None:
    inner = picture_bytes()
    for depth in range(5):
        box = io.BytesIO()
        with zipfile.ZipFile(box, "w") as archive:
            archive.writestr(f"{depth}.zip" if depth else "a.jpg", inner)
        inner = box.getvalue()
    path = made(tmp_path / "a.zip", [("in.zip", inner), ("in.jpg", inner), ("good.jpg", picture_bytes())])
    report = take(path)
    assert report.added == 1
    assert reasons(report) == {
        "in.zip": "it is an archive inside the archive",
        "in.jpg": "it is an archive; pictures are taken from ZIP archives, one deep",
    }


def test_a_file_of_a_pickle_is_never_unpickled(tmp_path: Path, store: Store, project: Project) -> None:
    """A-35: in a fresh process where every unpickler explodes."""
    code = """
import pickle, sys, zipfile
from pathlib import Path
def explode(*_a, **_k): raise SystemExit("an unpickler was called")
pickle.load = pickle.loads = pickle.Unpickler = explode
from annotator.importing import import_zip
from annotator.settings import Settings
from annotator.store import Store
settings = Settings(data_dir=sys.argv[1])
report = import_zip(Store.open(settings), int(sys.argv[3]), Path(sys.argv[2]), settings=settings)
print([file.name for file in report.refused], report.added)
"""
    bad = b"\x80\x04cos\nsystem\n(S'true'\ntR."
    members = [(f"a.{end}", bad) for end in ("pt", "pth", "pkl", "npy", "joblib", "safetensors", "jpg")]
    path = made(tmp_path / "a.zip", [*members, ("good.jpg", picture_bytes())])
    done = subprocess.run(
        [sys.executable, "-c", code, str(store.data_dir), str(path), str(project.id)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"{[name for name, _ in members]} 1"


def test_a_single_file_of_a_kind_that_is_not_read_is_said_so(
    tmp_path: Path, store: Store, project: Project, settings: Settings
) -> None:
    (tmp_path / "x.svg").write_text("<svg/>")
    with pytest.raises(TypeNotAccepted, match=r"^x.svg: it is not a JPEG"):
        import_files(store, project.id, [("x.svg", tmp_path / "x.svg")], settings=settings)
    (tmp_path / "x.jpg").write_bytes(b"")
    with pytest.raises(BadInput, match="no picture to import") as caught:
        import_files(store, project.id, [("x.jpg", tmp_path / "x.jpg")], settings=settings)
    assert not isinstance(caught.value, TypeNotAccepted)


def test_a_file_that_grows_while_it_is_read_is_cut_by_what_comes(
    tmp_path: Path, store: Store, project: Project, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotator.importing.items.MAX_BYTES", 3_000)
    monkeypatch.setattr("annotator.importing.folder.os.fstat", lambda _n: os.stat_result((0,) * 10))
    path = tmp_path / "x.bmp"
    path.write_bytes(picture_bytes(".bmp", size=(100, 100)))
    with pytest.raises(BadInput, match="it has more than 3000 bytes, the limit"):
        import_files(store, project.id, [("x.bmp", path)], settings=settings)


def test_archives_know_their_limits() -> None:
    fields = Settings.model_fields
    assert (fields["zip_entries"].default, fields["zip_bytes"].default) == (50_000, 20 * 10**9)
    assert (archives.MAX_RATIO, archives.SMALL) == (200, 2**20)
