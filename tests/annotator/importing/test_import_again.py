"""R-39, N-14, R-28, N-10, R-33: importing again, after a kill, or by two at once gives what once gives."""

from __future__ import annotations

import hashlib
import random
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from annotator.exporting import export_coco, export_csv
from annotator.importing import import_folder, import_labels, import_zip
from annotator.records import CellState, Image, ImageState, ImportReport, NewDecision, Project
from annotator.settings import Settings
from annotator.store import Store, categories, decisions, images, projects, users
from tests.conftest import NOW, picture, picture_bytes
from tests.faults.claims import Claims, size

ROOT = Path(__file__).parents[3]


def rows(store: Store, project_id: int = 1) -> dict[str, str]:
    """Name to digest of every picture."""
    with store.read() as c:
        return {image.name: image.sha256 for image in images.page(c, project_id, limit=100_000)}


def files(store: Store) -> set[str]:
    return {
        str(path.relative_to(store.data_dir))
        for folder in ("originals", "canonical", "thumbnails")
        for path in (store.data_dir / folder).rglob("*")
        if path.is_file()
    }


def cells(store: Store, project_id: int = 1) -> dict[tuple[int, int], CellState]:
    with store.read() as c:
        found = decisions.labelled_pairs(c, project_id)
        return {(label.image_id, label.category_id): label.state for label in found}


def small_set(folder: Path, count: int) -> Path:
    for seed in range(count):
        picture(folder / f"{seed:05}{('.jpg', '.png', '.bmp')[seed % 3]}", seed=seed, size=(12, 9))
    return folder


@pytest.fixture
def owned(store: Store, project: Project, user_id: int) -> Store:
    """A store with project 1 and user 1."""
    assert (project.id, user_id) == (1, 1)
    return store


def test_the_same_set_three_times_is_the_same_set_once(
    tmp_path: Path, owned: Store, settings: Settings, claim: Claims
) -> None:
    count = size(200, 10_000)
    made = claim("N-14", "the same set imported three times adds nothing", unit="pictures")
    folder = small_set(tmp_path / "in", count)
    reports = [import_folder(owned, 1, folder, settings=settings) for _ in range(3)]
    assert [(r.added, r.duplicates, r.refused) for r in reports] == [(count, 0, ()), *[(0, count, ())] * 2]
    assert len(rows(owned)) == count
    made.done(count)


def fresh_folders(base: Path, template: Path, count: int, prepare: Callable[[Store], None]) -> list[Path]:
    """Data folders with project 1 and user 1, all from one that `prepare` has made ready."""
    first = base / "d0"
    first.mkdir(parents=True)
    shutil.copyfile(template, first / "annotator.db")
    store = Store.open(Settings(data_dir=first))
    store.write(lambda c: (users.owner(c, now=NOW), projects.create(c, "holiday", now=NOW)))
    prepare(store)
    store.close()
    folders = [first]
    for number in range(1, count):
        folders.append(shutil.copytree(first, base / f"d{number}"))
    return folders


def killed(kind: str, source: Path, seed: int, folders: list[Path]) -> list[int]:
    """The steps before which the imports into all folders but the first were killed."""
    command = [sys.executable, "-m", "tests.annotator.importing.killed", kind, str(source), str(seed)]
    done = subprocess.run(
        [*command, *map(str, folders)], cwd=ROOT, capture_output=True, text=True, timeout=900, check=True
    )
    _, *fatal = (int(line) for line in done.stdout.split())
    assert len(fatal) == len(folders) - 1
    return fatal


def test_an_import_killed_anywhere_is_finished_by_running_it_again(
    tmp_path: Path, migrated: Path, claim: Claims
) -> None:
    points, seed = size(10, 30), 7
    made = claim(
        "N-14", "a picture import killed and repeated ends as one that was not", unit="kills", seed=seed
    )
    source = small_set(tmp_path / "in", 30)
    whole, *folders = fresh_folders(tmp_path / "data", migrated, points + 1, lambda _store: None)
    fatal = killed("pictures", source, seed, [whole, *folders])
    assert all(fatal)
    store = Store.open(Settings(data_dir=whole))
    wanted = rows(store), files(store)
    store.close()
    assert len(wanted[0]) == 30
    for folder in folders:
        again = Store.open(Settings(data_dir=folder))
        before = rows(again)
        assert before.items() <= wanted[0].items()
        for name, sha in before.items():  # a row is only there when its file is
            data = (folder / f"originals/{sha[:2]}/{sha}{Path(name).suffix}").read_bytes()
            assert hashlib.sha256(data).hexdigest() == sha
        report = import_folder(again, 1, source, settings=Settings(data_dir=folder))
        assert (report.added, report.duplicates) == (30 - len(before), len(before))
        assert (rows(again), files(again)) == wanted
        again.close()
    made.done(points)


def test_a_label_import_killed_anywhere_is_all_or_nothing(
    tmp_path: Path, migrated: Path, claim: Claims
) -> None:
    points, seed = size(10, 30), 8
    made = claim(
        "R-39", "a label import that was killed has stored everything or nothing", unit="kills", seed=seed
    )
    table = tmp_path / "labels.csv"
    header = ",".join(f"c{number}" for number in range(20))
    lines = [f"{n}.jpg,{','.join('10?'[(n + k) % 3] for k in range(20))}\n" for n in range(200)]
    table.write_text(f"file_name,{header}\n" + "".join(lines))

    def prepare(store: Store) -> None:
        from tests.conftest import new_image

        store.write(lambda c: [images.add(c, 1, new_image(f"{n}.jpg"), now=NOW) for n in range(200)] and None)

    whole, *folders = fresh_folders(tmp_path / "data", migrated, points + 1, prepare)
    assert all(killed("labels", table, seed, [whole, *folders]))
    found = []
    for folder in folders:
        store = Store.open(Settings(data_dir=folder))
        before = len(cells(store))
        with store.read() as c:
            assert len(categories.list_active(c, 1)) == (20 if before else 0)
        report = import_labels(store, 1, table, user_id=1)
        assert (report.cells, report.cells_known) == (4_000 - before, before)
        assert len(cells(store)) == 4_000
        found.append(before)
        store.close()
    assert set(found) <= {0, 4_000}
    made.done(points, nothing=found.count(0), everything=found.count(4_000))


def test_two_people_importing_the_same_set_at_once_make_one_set(
    tmp_path: Path, owned: Store, settings: Settings
) -> None:
    source = small_set(tmp_path / "in", 80)
    table = tmp_path / "l.csv"
    table.write_text("file_name,dog\n" + "".join(f"{path.name},1\n" for path in sorted(source.iterdir())))
    reports: list[ImportReport] = []

    def both(work: Callable[[], ImportReport]) -> list[ImportReport]:
        reports.clear()
        threads = [threading.Thread(target=lambda: reports.append(work())) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return reports

    both(lambda: import_folder(owned, 1, source, settings=settings))
    assert sum(report.added for report in reports) == 80
    assert sum(report.duplicates for report in reports) == 80
    assert len(rows(owned)) == 80 and sorted(rows(owned)) == sorted(path.name for path in source.iterdir())
    both(lambda: import_labels(owned, 1, table, user_id=1))
    assert (sum(r.cells for r in reports), sum(r.cells_known for r in reports)) == (80, 80)
    assert sum(report.categories_added for report in reports) == 1
    with owned.read() as c:
        assert decisions.count_since(c, 1, 0) == 80


def test_overlapping_sets_meet_in_the_middle(tmp_path: Path, owned: Store, settings: Settings) -> None:
    one, two = small_set(tmp_path / "one", 12), small_set(tmp_path / "two", 20)
    for path in sorted(two.iterdir())[:6]:
        path.unlink()
    assert import_folder(owned, 1, one, settings=settings).added == 12
    report = import_folder(owned, 1, two, settings=settings)
    assert (report.added, report.duplicates) == (8, 6)


def test_answers_of_people_stand_whatever_is_imported(
    tmp_path: Path, owned: Store, add_images: Callable[..., list[Image]], project: Project
) -> None:
    pictures = add_images(project, 30)
    table = tmp_path / "l.csv"
    table.write_text("file_name,dog,cat\n" + "".join(f"p{n}.jpg,1,0\n" for n in range(30)))

    def answer(c: Any) -> None:
        made = categories.ensure(c, 1, ["dog", "cat"], now=NOW)[0]
        new = [
            NewDecision(
                op_id=f"{image.id}", image_id=image.id, category_id=made[0].id, state=CellState(state)
            )
            for image, state in zip(pictures, [1, -1, 2] * 10, strict=True)
        ]
        decisions.record(c, 1, new, user_id=1, now=NOW)

    owned.write(answer)
    before = cells(owned)
    for lenient in (False, True, False):
        import_labels(owned, 1, table, user_id=1, lenient=lenient)
        assert before.items() <= cells(owned).items() and len(cells(owned)) == 60


DAMAGE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": lambda data, chance: data[: len(data) // 3],
    "empty": lambda _data, _chance: b"",
    "text": lambda _data, _chance: b"this is no picture at all, whatever its name says",
    "head": lambda data, chance: bytes(chance.randrange(256) for _ in range(24)) + data[24:],
}


def test_of_many_pictures_every_damaged_one_is_listed_by_name_and_reason(
    tmp_path: Path, owned: Store, settings: Settings, claim: Claims
) -> None:
    count, chance = size(1_000, 10_000), random.Random(3)
    made = claim("N-10", "every damaged picture of a large import is listed", unit="pictures", seed=3)
    bad: dict[str, str] = {}
    (tmp_path / "in").mkdir()
    for number in range(count):
        name, data = f"{number:05}.jpg", picture_bytes(seed=number, size=(16, 12))
        if number % 100 == 7:
            bad[name] = sorted(DAMAGE)[number // 100 % len(DAMAGE)]
            data = DAMAGE[bad[name]](data, chance)
        (tmp_path / "in" / name).write_bytes(data)
    for number in range(5):
        shutil.copy(tmp_path / "in" / f"{number:05}.jpg", tmp_path / "in" / f"twin{number}.jpg")
    (tmp_path / "in" / "wrong-ending.png").write_bytes(picture_bytes(seed=count + 1))
    for number in range(10):
        (tmp_path / "in" / f"missing{number}.jpg").symlink_to(tmp_path / "nowhere.jpg")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = import_folder(owned, 1, tmp_path / "in", settings=settings)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000  # KiB
    refused = {file.name: file.reason for file in report.refused}
    assert refused.keys() == bad.keys() | {f"missing{number}.jpg" for number in range(10)}
    words = {"cut": "damaged", "empty": "empty", "text": "not a JPEG", "head": "not a"}
    for name, kind in bad.items():
        assert words[kind] in refused[name]
    assert all("cannot be read (No such file" in refused[f"missing{number}.jpg"] for number in range(10))
    assert (report.added, report.duplicates) == (count - len(bad) + 1, 5)
    made.done(count, damaged=len(bad), grown_kib=grown)


def test_a_file_that_comes_back_is_taken_by_the_next_import(
    tmp_path: Path, owned: Store, settings: Settings
) -> None:
    folder = small_set(tmp_path / "in", 4)
    whole = (folder / "00000.jpg").read_bytes()
    (folder / "00000.jpg").write_bytes(whole[:200])
    assert len(import_folder(owned, 1, folder, settings=settings).refused) == 1
    (folder / "00000.jpg").write_bytes(whole)
    report = import_folder(owned, 1, folder, settings=settings)
    assert (report.added, report.duplicates, report.refused) == (1, 3, ())
    with owned.read() as c:
        assert {image.state for image in images.page(c, 1)} == {ImageState.READY}


NAMES = ["狗.jpg", "كلب.jpg", "שלום.jpg", "🐕 d.jpg", "Cafe\u0301.jpg", "a #?%&.jpg", "line\nbreak.jpg",
         "=1+1.jpg", "'quoted'.jpg", "a,b;c\td.jpg", ' "x".jpg', "x" * 251 + ".jpg", "-.jpg", "\u202egnp.jpg",
         "file_name"]  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "coco"])
def test_names_come_back_through_export_and_import(
    tmp_path: Path, owned: Store, settings: Settings, kind: str
) -> None:
    (tmp_path / "in").mkdir()
    for seed, name in enumerate(NAMES):
        (tmp_path / "in" / name).write_bytes(picture_bytes(seed=seed))
    (tmp_path / "in" / "a\udcff.jpg").write_bytes(picture_bytes(seed=99))
    import_folder(owned, 1, tmp_path / "in", settings=settings)
    other = owned.write(lambda c: projects.create(c, "other", now=NOW)).id
    import_folder(owned, other, tmp_path / "in", settings=settings)
    assert rows(owned, other) == rows(owned, 1) and len(rows(owned)) == len(NAMES) + 1

    def answer(c: Any) -> None:
        dog = categories.add(c, 1, "=dog", now=NOW)
        states = (CellState.POSITIVE, CellState.NEGATIVE, CellState.UNSURE)
        new = [
            NewDecision(op_id=f"{key}", image_id=key, category_id=dog.id, state=states[key % 3])
            for key in images.ids(c, 1)
        ]
        decisions.record(c, 1, new, user_id=1, now=NOW)

    owned.write(answer)
    for project_id, name in ((1, "first"), (other, "second")):
        if project_id == other:
            import_labels(owned, other, tmp_path / "first", user_id=1)
        if kind == "csv":
            export_csv(owned, project_id, tmp_path / name)
        else:
            export_coco(owned, project_id, tmp_path / name, now=NOW)
    with owned.read() as c:
        one, two = (
            {names[key]: state for (key, _), state in cells(owned, number).items()}
            for number, names in (
                (number, {key: name for name, key in images.name_map(c, number).items()})
                for number in (1, other)
            )
        )
    assert one == two and len(one) == len(NAMES) + 1
    if kind == "csv":
        assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_an_entry_that_leads_out_is_not_in_any_export(
    tmp_path: Path, owned: Store, settings: Settings
) -> None:
    """A-14: what is exported was registered by hash; a label file cannot bring a path of its own."""
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../../etc/passwd", picture_bytes(seed=1))
        archive.writestr("good.jpg", picture_bytes(seed=2))
    report = import_zip(owned, 1, tmp_path / "a.zip", settings=settings)
    assert [file.reason for file in report.refused] == ["its path leads out of the folder"]
    (tmp_path / "l.csv").write_text("file_name,dog\n../../etc/passwd,1\ngood.jpg,1\n")
    rows_left = import_labels(owned, 1, tmp_path / "l.csv", user_id=1, lenient=True).refused
    assert [row.reason for row in rows_left] == [
        'line 2: no picture of the project is named "../../etc/passwd"'
    ]
    export_coco(owned, 1, tmp_path / "out.json", now=NOW)
    text = (tmp_path / "out.json").read_text()
    assert "passwd" not in text and "good.jpg" in text


def test_an_upright_picture_has_its_stored_bytes_as_they_were_given(
    tmp_path: Path, owned: Store, settings: Settings
) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.new("RGB", (40, 20)).save(tmp_path / "x.jpg", exif=exif)
    (tmp_path / "in").mkdir()
    shutil.move(tmp_path / "x.jpg", tmp_path / "in" / "x.jpg")
    import_folder(owned, 1, tmp_path / "in", settings=settings)
    with owned.read() as c:
        (image,) = images.page(c, 1)
    assert (image.width, image.height) == (20, 40)
    assert (owned.data_dir / image.original).read_bytes() == (tmp_path / "in" / "x.jpg").read_bytes()
