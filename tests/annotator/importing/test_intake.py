"""Folders, archives and uploads: what is a picture comes in once, everything else is named."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotator.errors import BadFile, BadInput, NotFound, StoreError
from annotator.importing import import_files, import_folder, import_zip
from annotator.importing import zipfile as archives
from annotator.importing.items import safe_name
from annotator.records import Image, ImageState, ImportReport, Project
from annotator.settings import Settings
from annotator.store import Store, images, projects
from tests.conftest import NOW, picture, picture_bytes


@pytest.fixture
def take(store: Store, project: Project, settings: Settings) -> Callable[..., ImportReport]:
    """Imports a folder or archive into the project."""

    def taker(path: Path, **more: Any) -> ImportReport:
        importer = import_zip if path.is_file() else import_folder
        return importer(store, project.id, path, settings=settings, **more)

    return taker


def stored(store: Store, project: Project) -> list[Image]:
    with store.read() as c:
        return images.page(c, project.id, limit=10_000)


def reasons(report: ImportReport) -> dict[str, str]:
    return {file.name: file.reason for file in report.refused}


def test_a_folder_comes_in_with_names_sizes_and_files(
    tmp_path: Path, store: Store, project: Project, take: Callable[..., ImportReport]
) -> None:
    plain = picture(tmp_path / "in" / "b" / "plain.jpg", size=(300, 200))
    picture(tmp_path / "in" / "a.bmp", size=(20, 10), seed=2)
    report = take(tmp_path / "in")
    assert report == ImportReport(added=2)
    first, second = stored(store, project)
    assert [(i.name, i.width, i.height, i.media_type) for i in (first, second)] == [
        ("a.bmp", 20, 10, "image/bmp"),
        ("b/plain.jpg", 300, 200, "image/jpeg"),
    ]
    sha = hashlib.sha256(plain.read_bytes()).hexdigest()
    assert second.sha256 == sha
    assert second.original == second.canonical == f"originals/{sha[:2]}/{sha}.jpg"
    assert (store.data_dir / second.original).read_bytes() == plain.read_bytes()
    assert first.canonical == f"canonical/{first.sha256[:2]}/{first.sha256}.png"
    for image in (first, second):
        for path in (
            image.original,
            image.canonical,
            f"thumbnails/{image.sha256[:2]}/{image.sha256}.jpg",
        ):
            assert (store.data_dir / path).stat().st_size > 0
    assert list((store.data_dir / "incoming").iterdir()) == []


def test_importing_again_adds_nothing(
    tmp_path: Path, store: Store, project: Project, take: Callable[..., ImportReport]
) -> None:
    for seed in range(5):
        picture(tmp_path / "in" / f"{seed}.jpg", seed=seed)
    assert take(tmp_path / "in").added == 5
    before = stored(store, project)
    again = take(tmp_path / "in")
    assert (again.added, again.duplicates, again.refused, again.notes) == (0, 5, (), ())
    assert stored(store, project) == before


def test_same_bytes_under_two_names_are_one_picture_and_said(
    tmp_path: Path, store: Store, project: Project, take: Callable[..., ImportReport]
) -> None:
    picture(tmp_path / "in" / "a.jpg")
    shutil.copy(tmp_path / "in" / "a.jpg", tmp_path / "in" / "b.jpg")
    report = take(tmp_path / "in")
    assert (report.added, report.duplicates) == (1, 1)
    assert report.notes == ("b.jpg has the same bytes as a.jpg.",)
    assert [image.name for image in stored(store, project)] == ["a.jpg"]


def test_the_same_name_with_other_bytes_is_kept_beside_it(
    tmp_path: Path, store: Store, project: Project, take: Callable[..., ImportReport]
) -> None:
    picture(tmp_path / "one" / "a.jpg", seed=1)
    picture(tmp_path / "two" / "a.jpg", seed=2)
    take(tmp_path / "one")
    report = take(tmp_path / "two")
    assert report.notes == ("a.jpg is another picture here and was stored as a (2).jpg.",)
    assert [image.name for image in stored(store, project)] == ["a.jpg", "a (2).jpg"]


def test_every_file_that_is_not_taken_is_named_with_its_reason(
    tmp_path: Path, take: Callable[..., ImportReport]
) -> None:
    folder = tmp_path / "in"
    good = picture(folder / "good.jpg", size=(200, 200))
    (folder / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("hello")
    (folder / "cut.jpg").write_bytes(good.read_bytes()[:600])
    (folder / ".hidden.jpg").write_bytes(good.read_bytes())
    (folder / ".git").mkdir()
    (folder / ".git" / "x.jpg").write_bytes(good.read_bytes())
    (folder / "labels.csv").write_text("file_name,dog\n")
    (folder / "loop").symlink_to(folder)
    (folder / "nowhere.jpg").symlink_to(folder / "gone.jpg")
    os.mkfifo(folder / "pipe.jpg")
    report = take(folder)
    assert report.added == 1
    expected = {
        "empty.png": "empty",
        "notes.txt": "not a JPEG",
        "cut.jpg": "damaged",
        ".hidden.jpg": "hidden file",
        ".git/": "hidden folder",
        "loop/": "link to a folder",
        "nowhere.jpg": "cannot be read",
        "pipe.jpg": "not a regular file",
    }
    found = reasons(report)
    assert found.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in found[name]
    assert report.notes == ("labels.csv looks like a label file; it can be imported as labels.",)


def test_a_picture_over_the_pixel_limit_is_refused(
    tmp_path: Path, store: Store, project: Project, settings: Settings
) -> None:
    picture(tmp_path / "in" / "a.png", size=(100, 100))
    picture(tmp_path / "in" / "b.png", size=(10, 10))
    small = settings.model_copy(update={"max_pixels": 5_000})
    report = import_folder(store, project.id, tmp_path / "in", settings=small)
    assert (report.added, [file.name for file in report.refused]) == (1, ["a.png"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(tmp_path: Path, take: Callable[..., ImportReport]) -> None:
    picture(tmp_path / "in" / "a.jpg")
    picture(tmp_path / "in" / "b.jpg", seed=1).chmod(0)
    assert reasons(take(tmp_path / "in")) == {"b.jpg": "it cannot be read (Permission denied)"}


@pytest.mark.parametrize(
    "content", [{}, {"a.txt": b"text", "b.md": b"more"}, {"zero.jpg": b""}, {"l.csv": b"x"}]
)
def test_a_folder_without_pictures_is_one_sentence_and_writes_nothing(
    tmp_path: Path,
    store: Store,
    project: Project,
    take: Callable[..., ImportReport],
    content: dict[str, bytes],
) -> None:
    (tmp_path / "in").mkdir()
    for name, data in content.items():
        (tmp_path / "in" / name).write_bytes(data)
    with pytest.raises(BadInput, match=r"There is no picture to import in the folder .*in") as caught:
        take(tmp_path / "in")
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text
    assert ("a.txt" in text, "zero.jpg" in text) == ("a.txt" in content, "zero.jpg" in content)
    assert stored(store, project) == []
    assert not list(store.data_dir.glob("originals/*/*"))


def test_a_folder_that_is_not_there_or_is_a_file_is_said(
    tmp_path: Path, store: Store, project: Project, settings: Settings
) -> None:
    with pytest.raises(BadInput, match="There is no folder"):
        import_folder(store, project.id, tmp_path / "nope", settings=settings)
    file = picture(tmp_path / "a.jpg")
    with pytest.raises(BadInput, match="is a file, not a folder"):
        import_folder(store, project.id, file, settings=settings)
    with pytest.raises(NotFound, match="no project 99"):
        import_folder(store, 99, tmp_path, settings=settings)


def test_the_data_folder_is_never_imported_into_itself(
    tmp_path: Path, store: Store, project: Project, take: Callable[..., ImportReport]
) -> None:
    picture(tmp_path / "a.jpg")
    picture(store.data_dir / "originals" / "zz" / "b.jpg", seed=4)
    report = take(tmp_path)
    assert report.added == 1
    assert any("data folder" in note for note in report.notes)


@pytest.mark.parametrize(
    "name",
    [
        "狗.jpg",
        "كلب.jpg",
        "🐕 dog.jpg",
        "a b#?%&.jpg",
        "Cafe\u0301.jpg",
        "line\nbreak.jpg",
        "x" * 251 + ".jpg",
    ],
)
def test_odd_names_are_kept_in_nfc(
    tmp_path: Path, store: Store, project: Project, take: Callable[..., ImportReport], name: str
) -> None:
    picture(tmp_path / "in" / name)
    take(tmp_path / "in")
    assert [image.name for image in stored(store, project)] == [unicodedata.normalize("NFC", name)]


def test_bytes_that_are_no_utf8_get_a_stable_name(
    tmp_path: Path, store: Store, project: Project, take: Callable[..., ImportReport]
) -> None:
    (tmp_path / "in").mkdir()
    raw = os.fsencode(tmp_path / "in") + b"/a\xff.jpg"
    Path(os.fsdecode(raw)).write_bytes(picture_bytes())
    take(tmp_path / "in")
    assert [image.name for image in stored(store, project)] == ["a\\xff.jpg"]


def test_progress_counts_every_file_once_and_ends_at_the_total(
    tmp_path: Path, take: Callable[..., ImportReport]
) -> None:
    for seed in range(30):
        picture(tmp_path / "in" / f"{seed:02}.jpg", seed=seed, size=(8, 8))
    (tmp_path / "in" / "zz.txt").write_text("no")
    seen: list[tuple[int, int | None, str]] = []
    take(tmp_path / "in", on_progress=lambda *step: seen.append(step))
    assert [done for done, _, _ in seen] == list(range(1, 32))
    assert {total for _, total, _ in seen} == {31}
    assert seen[-1][2] == "zz.txt"


def test_stopping_in_the_middle_keeps_what_is_done_and_can_be_continued(
    tmp_path: Path,
    store: Store,
    project: Project,
    take: Callable[..., ImportReport],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("annotator.importing.intake.BATCH", 4)
    for seed in range(20):
        picture(tmp_path / "in" / f"{seed:03}.jpg", seed=seed, size=(8, 8))

    class Stop(Exception):
        pass

    def stop(done: int, total: int | None, name: str) -> None:
        if done == 9:
            raise Stop

    with pytest.raises(Stop):
        take(tmp_path / "in", on_progress=stop)
    kept = len(stored(store, project))
    assert 9 <= kept <= 12
    report = take(tmp_path / "in")
    assert (report.added, report.duplicates) == (20 - kept, kept)
    assert len(stored(store, project)) == 20
    assert list((store.data_dir / "incoming").iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from annotator.importing import import_folder
from annotator.settings import Settings
from annotator.store import Store
settings = Settings(data_dir=sys.argv[1])
def kill(done, total, name):
    if done == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
import_folder(Store.open(settings), 1, Path(sys.argv[2]), settings=settings, on_progress=kill)
"""


def test_a_killed_import_is_finished_by_running_it_again(
    tmp_path: Path, store: Store, project: Project, take: Callable[..., ImportReport]
) -> None:
    for seed in range(70):
        picture(tmp_path / "in" / f"{seed:03}.jpg", seed=seed, size=(8, 8))
    arguments = [sys.executable, "-c", KILLED, str(store.data_dir), str(tmp_path / "in")]
    for place in ("1", "65"):
        code = subprocess.run([*arguments, place], cwd=Path(__file__).parents[3], check=False).returncode
        assert code == -signal.SIGKILL
    report = take(tmp_path / "in")
    assert report.added + report.duplicates == 70
    found = stored(store, project)
    assert sorted(image.name for image in found) == [f"{n:03}.jpg" for n in range(70)]
    for image in found:
        assert hashlib.sha256((store.data_dir / image.original).read_bytes()).hexdigest() == image.sha256


def test_a_lost_original_is_repaired_by_importing_again(
    tmp_path: Path, store: Store, project: Project, take: Callable[..., ImportReport]
) -> None:
    source = picture(tmp_path / "in" / "a.jpg")
    take(tmp_path / "in")
    image = stored(store, project)[0]
    (store.data_dir / image.original).unlink()
    store.write(lambda c: images.set_state(c, image.id, ImageState.MISSING))
    report = take(tmp_path / "in")
    assert (report.added, report.duplicates) == (0, 1)
    assert (store.data_dir / image.original).read_bytes() == source.read_bytes()
    assert stored(store, project) == [image]


def test_two_projects_share_the_files(
    tmp_path: Path, store: Store, project: Project, settings: Settings, take: Callable[..., ImportReport]
) -> None:
    picture(tmp_path / "in" / "a.jpg")
    take(tmp_path / "in")
    other = store.write(lambda c: projects.create(c, "other", now=NOW))
    assert import_folder(store, other.id, tmp_path / "in", settings=settings).added == 1
    assert len(list(store.data_dir.glob("originals/*/*"))) == 1


def test_a_full_disk_stops_with_a_sentence(
    tmp_path: Path, store: Store, project: Project, take: Callable[..., ImportReport]
) -> None:
    picture(tmp_path / "in" / "a.jpg")
    (store.data_dir / "originals").write_bytes(b"a file where a folder should be")
    with pytest.raises(
        StoreError, match=r"cannot be stored in .* \(.*\); make room there and import again\."
    ):
        take(tmp_path / "in")
    assert stored(store, project) == []


def test_uploads_keep_the_names_of_the_browser(
    tmp_path: Path, store: Store, project: Project, settings: Settings
) -> None:
    files = [
        ("C:\\pictures\\a.jpg", picture(tmp_path / "tmp1.jpg", seed=1)),
        ("../../etc/b.jpg", picture(tmp_path / "tmp2.jpg", seed=2)),
        ("sub/c.jpg", picture(tmp_path / "tmp3.jpg", seed=3)),
        (".d.jpg", picture(tmp_path / "tmp4.jpg", seed=4)),
    ]
    report = import_files(store, project.id, files, settings=settings)
    assert [image.name for image in stored(store, project)] == ["pictures/a.jpg", "sub/c.jpg"]
    assert reasons(report) == {
        "../../etc/b.jpg": "its path leads out of the folder",
        ".d.jpg": "it is a hidden file",
    }
    with pytest.raises(BadInput, match="in the upload"):
        import_files(store, project.id, [], settings=settings)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("/a/b.jpg", "a/b.jpg"),
        ("./a//b.jpg", "a/b.jpg"),
        ("a\\b.jpg", "a/b.jpg"),
        ("D:\\x.jpg", "x.jpg"),
        ("e\u0301.jpg", "\u00e9.jpg"),
        ("a\udcff.jpg", "a\\udcff.jpg".replace("\\", "/")),
    ],
)
def test_safe_names_are_relative_with_forward_slashes(raw: str, name: str) -> None:
    assert safe_name(raw) == name


def test_long_names_are_cut_part_by_part_and_keep_their_ending() -> None:
    """A-18."""
    assert safe_name("a/" + "x" * 4_000 + ".jpeg") == "a/" + "x" * 250 + ".jpeg"
    assert safe_name("y" * 300 + "/b.jpg") == "y" * 255 + "/b.jpg"
    for raw, reason in (("a\0b.jpg", "NUL"), ("a/" * 3_000 + "b.jpg", "too long")):
        with pytest.raises(BadFile, match=reason):
            safe_name(raw)


@pytest.mark.parametrize("raw", ["", "/", "..", "a/../../b.jpg", "..\\b.jpg", "C:\\..\\b"])
def test_names_that_lead_out_are_refused(raw: str) -> None:
    with pytest.raises(BadFile):
        safe_name(raw)


def make_zip(path: Path, members: dict[str, bytes], **more: Any) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **more) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_an_archive_comes_in_like_a_folder(
    tmp_path: Path, store: Store, project: Project, take: Callable[..., ImportReport]
) -> None:
    path = make_zip(
        tmp_path / "a.zip",
        {
            "set/a.jpg": picture_bytes(seed=1),
            "set/": b"",
            "set\\b.png": picture_bytes(".png", seed=2),
            "__MACOSX/set/._a.jpg": b"junk",
            "set/labels.json": b"{}",
            "inner.zip": b"PK\x03\x04",
            "readme.txt": b"hello",
        },
    )
    report = take(path)
    assert [image.name for image in stored(store, project)] == ["set/a.jpg", "set/b.png"]
    found = reasons(report)
    assert found["__MACOSX/set/._a.jpg"] == "it is a hidden file"
    assert "archive inside" in found["inner.zip"]
    assert "not a JPEG" in found["readme.txt"]
    assert len(found) == 3
    assert len(report.notes) == 1


def test_hostile_members_are_refused_by_name_and_nothing_escapes(
    tmp_path: Path, store: Store, project: Project, take: Callable[..., ImportReport]
) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../escape.jpg", picture_bytes(seed=1))
        archive.writestr("/absolute.jpg", picture_bytes(seed=2))
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        pipe = zipfile.ZipInfo("pipe.jpg")
        pipe.external_attr = (stat.S_IFIFO | 0o777) << 16
        archive.writestr(pipe, "")
        archive.writestr("secret.jpg", picture_bytes(seed=3))
        archive.writestr("good.jpg", picture_bytes(seed=4))
    data = bytearray(path.read_bytes())
    for marker, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):  # set the encrypted flag of secret.jpg
        place = -1
        while (place := data.find(marker, place + 1)) >= 0:
            if b"secret.jpg" in data[place : place + 60]:
                data[place + offset] |= 1
    path.write_bytes(data)
    before = {p for p in tmp_path.rglob("*") if store.data_dir not in p.parents}
    report = take(path)
    assert reasons(report) == {
        "../../escape.jpg": "its path leads out of the folder",
        "link.jpg": "it is a link",
        "pipe.jpg": "it is not a regular file",
        "secret.jpg": "it is encrypted",
    }
    assert [image.name for image in stored(store, project)] == ["absolute.jpg", "good.jpg"]
    assert {p for p in tmp_path.rglob("*") if store.data_dir not in p.parents} == before


def test_a_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, take: Callable[..., ImportReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "SMALL", 10_000)
    path = make_zip(tmp_path / "bomb.zip", {"a.bmp": b"BM" + bytes(2_000_000)})
    with pytest.raises(BadFile, match=r"bomb.zip: it would unpack to \d+ times its size"):
        take(path)


def test_a_member_that_unpacks_far_too_much_is_refused_alone(
    tmp_path: Path, take: Callable[..., ImportReport]
) -> None:
    path = make_zip(
        tmp_path / "a.zip", {"a.bmp": b"BM" + bytes(3 * 2**20), "good.jpg": picture_bytes(size=(300, 300))}
    )
    report = take(path)
    assert (report.added, reasons(report)) == (
        1,
        {"a.bmp": "it would unpack to more than 200 times its size"},
    )


def test_totals_of_an_archive_are_limited(
    tmp_path: Path, store: Store, project: Project, settings: Settings
) -> None:
    path = make_zip(tmp_path / "a.zip", {f"{n}.jpg": picture_bytes(seed=n) for n in range(3)})
    for limit, sentence in (
        ({"zip_entries": 2}, "3 entries, the limit is 2"),
        ({"zip_bytes": 100}, "unpack to [0-9]+ bytes, the limit is 100"),
    ):
        with pytest.raises(BadFile, match=sentence):
            import_zip(store, project.id, path, settings=settings.model_copy(update=limit))
    assert stored(store, project) == []


def test_damaged_archives_are_sentences(tmp_path: Path, take: Callable[..., ImportReport]) -> None:
    good = make_zip(tmp_path / "a.zip", {"a.jpg": picture_bytes(seed=1), "b.jpg": picture_bytes(seed=2)})
    data = good.read_bytes()
    for name, content in (("empty", b""), ("text", b"hello"), ("cut", data[: len(data) // 2])):
        path = tmp_path / f"{name}.zip"
        path.write_bytes(content)
        with pytest.raises(BadFile, match=f"{name}.zip: it is not a readable ZIP archive"):
            take(path)
    flipped = bytearray(data)
    flipped[60] ^= 0xFF
    good.write_bytes(flipped)
    report = take(good)
    assert report.added == 1
    assert "damaged" in reasons(report)["a.jpg"]


def test_utf8_names_without_the_flag_are_read_as_utf8(
    tmp_path: Path, store: Store, project: Project, take: Callable[..., ImportReport]
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("XXXXX.jpg", picture_bytes())
    (tmp_path / "a.zip").write_bytes(buffer.getvalue().replace(b"XXXXX", "犬é".encode()))
    take(tmp_path / "a.zip")
    assert [image.name for image in stored(store, project)] == ["犬é.jpg"]


def test_an_archive_without_pictures_is_one_sentence(
    tmp_path: Path, take: Callable[..., ImportReport]
) -> None:
    with pytest.raises(BadInput, match=r"no picture to import in the archive a.zip"):
        take(make_zip(tmp_path / "a.zip", {}))
