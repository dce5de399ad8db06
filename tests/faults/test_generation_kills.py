"""R-04, N-03: the worker is killed at every place of a training and of a switch; never half a generation."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from annotator import artifacts
from annotator.actions import Actions
from annotator.errors import ArtifactDamaged
from annotator.records import CellState, Generation, GenerationStatus, JobStatus, NewDecision
from annotator.settings import Settings
from annotator.store import Store, categories, generations, images, jobs, projects
from annotator.suggesting.generation import LoadedGeneration
from annotator.worker.keeping import sweep
from db.migrate import upgrade
from tests.annotator.generation_builder import build, decide
from tests.annotator.worker.drawn import CATEGORIES, draw
from tests.faults.claims import Claims, size
from tests.faults.crash_points import Point, kill_at, needs_strace, points_of, run_traced, spread
from tests.faults.saving import make_world
from tests.faults.servers import Mother, ticks

PICTURES = 24
KILLED_AT = ("epoch", "model_write", "index_write", "before_files", "before_switch", "after_switch")
TRAINING_S = 120.0


@pytest.fixture(scope="module")
def mother() -> Iterator[Mother]:
    """Forks workers."""
    made = Mother("tests.faults.light_worker")
    yield made
    made.close()


@dataclass
class Opened:
    """A data folder as the next server would find it."""

    store: Store
    actions: Actions
    project: int
    image: int

    def history(self) -> list[Generation]:
        with self.store.read() as c:
            return generations.history(c, self.project)

    def serving(self) -> int | None:
        return self.actions.item(self.project, self.image).suggested.generation_id


def opened(data_dir: Path) -> Opened:
    settings = Settings(data_dir=data_dir, backbone="tiny")
    store = Store.open(settings)
    with store.read() as c:
        project = projects.list_all(c)[0].id
        image = images.ids(c, project)[-1]
    return Opened(store, Actions(store, settings), project, image)


def check_sound(data_dir: Path) -> list[Generation]:
    """Every generation with files is whole, and model, index, label map and row are of one generation."""
    found = opened(data_dir)
    history = found.history()
    for one in history:
        if one.status is not GenerationStatus.REMOVED:
            artifacts.verify(data_dir / one.folder, one.manifest_sha256)
            LoadedGeneration(data_dir, one)
    current = [one.id for one in history if one.status is GenerationStatus.CURRENT]
    assert len(current) == 1, "a kill must never leave a project without its generation, or with two"
    item = found.actions.item(found.project, found.image).suggested
    assert (item.generation_id, item.note) == (current[0], "")
    found.store.close()
    return history


def run_to_end(mother: Mother, folder: Path, *arguments: str) -> str:
    child = mother.fork(folder / "said.txt", *arguments)
    for _ in ticks(TRAINING_S):
        if not child._living():
            return child.output()
    child.kill()
    raise AssertionError("it did not end:\n" + child.output())


def answer(found: Opened, rows: range, truth: list[set[str]]) -> None:
    """True answers for some pictures."""
    with found.store.read() as c:
        ids = images.ids(c, found.project)
        columns = {one.name: one.id for one in categories.list_active(c, found.project)}
    found.actions.decide(
        found.project,
        [
            NewDecision(
                op_id=f"row-{row}-{name}",
                image_id=ids[row],
                category_id=columns[name],
                state=CellState.POSITIVE if name in truth[row] else CellState.NEGATIVE,
            )
            for row in rows
            for name in CATEGORIES
        ],
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, mother: Mother) -> Path:
    """A data folder with a trained generation and newer answers."""
    folder = tmp_path_factory.mktemp("trained")
    chance = random.Random(3)
    truth = [{name for name in CATEGORIES if chance.random() < 0.5} for _ in range(PICTURES)]
    (folder / "pictures").mkdir()
    for row, things in enumerate(truth):
        draw(folder / "pictures" / f"{row:03d}.jpg", things, chance)
    settings = Settings(data_dir=folder / "data", backbone="tiny")
    upgrade(settings.database)
    store = Store.open(settings)
    actions = Actions(store, settings)
    project = actions.create_project("scenes").id
    actions.import_folder(project, folder / "pictures")
    for name in CATEGORIES:
        actions.add_category(project, name)
    found = Opened(store, actions, project, 0)
    answer(found, range(14), truth)
    said = run_to_end(mother, folder, "train", str(settings.data_dir))
    assert "ended" in said, said
    answer(found, range(14, 17), truth)
    (first,) = found.history()
    assert first.status is GenerationStatus.CURRENT
    store.close()
    return settings.data_dir


def copied(source: Path, folder: Path) -> Path:
    shutil.copytree(source, folder / "data")
    return folder / "data"


@pytest.mark.parametrize("place", KILLED_AT)
def test_a_worker_killed_in_a_training_leaves_the_old_or_the_new_generation(
    tmp_path: Path, mother: Mother, trained: Path, place: str, claim: Claims
) -> None:
    shown = claim(
        "R-04",
        "A worker killed in an epoch, in writing the model or an index, or around the switch leaves a whole "
        "generation serving, and the next start finishes the training.",
        unit="kills",
    )
    data_dir = copied(trained, tmp_path)
    (before,) = check_sound(data_dir)
    said = run_to_end(mother, tmp_path, "train", str(data_dir), "--failpoint", f"{place}:kill")
    assert "ended" not in said, "the failpoint was never reached"
    after = check_sound(data_dir)
    switched = place == "after_switch"
    assert (after[0].id > before.id) == switched
    said = run_to_end(mother, tmp_path, "train", str(data_dir))
    assert "ended" in said, said
    newest = check_sound(data_dir)[0]
    assert newest.status is GenerationStatus.CURRENT and newest.id > before.id
    check_tidy(data_dir)
    shown.done(1, place=place)


def check_tidy(data_dir: Path) -> None:
    """The job is done, and nothing half-written or unheard-of is left."""
    found = opened(data_dir)
    with found.store.read() as c:
        assert jobs.active(c, found.project) == []
        job = jobs.latest(c, found.project, "retrain")
        kept = {data_dir / folder for folder in generations.kept_folders(c)}
    assert job is not None and job.status is JobStatus.DONE, job
    home = data_dir / "projects" / str(found.project)
    assert set((home / "generations").iterdir()) == kept
    assert [path.name for path in home.iterdir()] == ["generations"], "a finished run keeps no checkpoint"
    found.store.close()


def small(folder: Path, deed: str) -> Path:
    """A data folder with small generations: one, or several for pruning."""
    world = make_world(folder / "data", pictures=6)
    found = opened(world.data_dir)
    with found.store.read() as c:
        project = projects.get(c, found.project)
    cells = [
        (image, category, 1 - 2 * (row % 2))
        for row, image in enumerate(world.images[:4])
        for category in world.categories[:3]
    ]
    decide(found.store, project, cells)
    for seed in range(1 if deed == "publish" else 3):
        build(found.store, project, seed=seed)
    found.store.close()
    return world.data_dir


def kill_everywhere(
    mother: Mother, source: Path, folder: Path, deed: str, wanted: int
) -> tuple[int, int, int]:
    """Kill a deed at points spread over it; how many points there are, were tried, and had been switched."""
    whole = folder / "whole"
    whole.mkdir(parents=True)
    before = len(check_sound(source))
    said = run_traced(mother, whole, deed, str(copied(source, whole)), log=whole / "calls.txt")
    assert "ended" in said, said
    points = points_of(whole / "calls.txt")
    switched = tried = 0
    for point in spread(points, wanted):
        there, was_killed = killed(mother, source, folder / f"{point[0]}-{point[1]}", deed, point)
        # A training writes signs of life by the clock, so its calls are not always as many.
        assert was_killed or deed == "train", f"{point} was never reached"
        switched += was_killed and there > before
        tried += was_killed
    return len(points), tried, switched


def killed(mother: Mother, source: Path, folder: Path, deed: str, point: Point) -> tuple[int, bool]:
    """Kill a deed at one point: how many generations there are, all of them whole; whether it was reached."""
    folder.mkdir()
    data_dir = copied(source, folder)
    said = kill_at(mother, folder, point, deed, str(data_dir))
    history = check_sound(data_dir)
    found = opened(data_dir)
    sweep(found.store)
    with found.store.read() as c:
        kept = {data_dir / name for name in generations.kept_folders(c)}
    homes = [path for home in data_dir.glob("projects/*/generations") for path in home.iterdir()]
    assert set(homes) == kept, "the next start removes what has no row, and nothing else"
    found.store.close()
    shutil.rmtree(folder)
    return len(history), "ended" not in said


@pytest.mark.parametrize(("deed", "few"), [("publish", 20), ("prune", 8), ("train", 2)])
def test_killed_at_every_system_call_there_is_one_whole_generation(
    tmp_path: Path, mother: Mother, trained: Path, deed: str, few: int, claim: Claims
) -> None:
    needs_strace()
    shown = claim(
        "N-03",
        "Model, index and label map are of one generation after a kill at any file-changing system call.",
        unit="crash points",
    )
    source = trained if deed == "train" else small(tmp_path / "small", deed)
    points, tried, switched = kill_everywhere(mother, source, tmp_path / "kills", deed, size(few, 100_000))
    assert tried >= (0.8 if deed == "train" else 1) * min(points, size(few, 100_000))
    if deed == "publish" and tried > 10:
        assert 0 < switched < tried, "points lie before and after the switch"
    shown.done(tried, deed=deed, points_there_are=points)


def test_the_check_itself_notices_a_mixed_pair(tmp_path: Path) -> None:
    """The harness goes red when an index of another generation lies in the folder."""
    data_dir = small(tmp_path, "prune")
    history = check_sound(data_dir)
    index = next((data_dir / history[0].folder / "index").iterdir())
    other = data_dir / history[1].folder / "index" / index.name
    assert index.read_bytes() != other.read_bytes()
    shutil.copy(other, index)
    with pytest.raises(ArtifactDamaged, match="digest"):
        check_sound(data_dir)
