"""A demo set made on the spot: scenes of everyday objects, drawn by us, with every label known."""

from __future__ import annotations

import csv
import io
import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from annotator.artifacts import write_atomic
from annotator.demo_objects import SKETCHES, Colour, Pen, shade
from annotator.errors import BadInput
from annotator.records import Project

if TYPE_CHECKING:
    from annotator.actions import Actions

log = logging.getLogger(__name__)

DEMO_PROJECT = "demo scenes"
CATEGORIES = tuple(SKETCHES)
SIZE = (320, 240)
SUPERSAMPLING = 3
"""Scenes are drawn three times larger and scaled down, for smooth edges."""
RECIPE = 1
"""Goes up when the drawings change, so that an older demo folder is drawn again."""
LAKE = 0.26
"""Height of the lake as a share of the scene."""
Box = tuple[float, float, float, float]

SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((112, 178, 232), (206, 232, 248)), ((86, 152, 216), (190, 222, 240)), ((150, 196, 226), (232, 240, 240)),
    ((244, 178, 132), (252, 226, 186)), ((164, 176, 196), (216, 222, 230)), ((96, 118, 178), (222, 190, 206)),
)  # fmt: skip
GROUNDS: tuple[Colour, ...] = (
    (126, 182, 92), (152, 192, 104), (222, 202, 150), (176, 172, 164), (196, 160, 120), (216, 224, 230),
)  # fmt: skip


def render_demo(
    folder: Path,
    *,
    count: int = 160,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw `count` scenes into folder/images and write folder/labels.csv; returns the folder.

    The same seed gives the same scenes. A run that was stopped goes on where it was: pictures that are there
    are kept, labels.csv comes last. `on_progress(done, count)` is called after every picture. BadInput for a
    count or seed out of range, or when the folder holds another demo set.
    """
    if not 1 <= count <= 100_000 or seed < 0:
        raise BadInput(f"A demo set needs 1 to 100000 pictures and a seed from 0, not {count} and {seed}.")
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    _claim(folder, recipe={"recipe": RECIPE, "seed": seed})
    rows: list[list[str | int]] = []
    for number in range(count):
        name = f"scene_{number + 1:04d}.jpg"
        scene = random.Random(f"{seed}/{number}")
        shown = _choose(scene)
        if not (images / name).exists():
            write_atomic(images / name, _jpeg(_paint(shown, scene)))
        rows.append([name, *(int(category in shown) for category in CATEGORIES)])
        if on_progress is not None:
            on_progress(number + 1, count)
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([["file_name", *CATEGORIES], *rows])
    write_atomic(folder / "labels.csv", table.getvalue().encode())
    log.info("demo set of %d pictures in %s", count, folder)
    return folder


def create_demo_project(
    actions: Actions, folder: Path, on_progress: Callable[[int, int | None, str], None]
) -> Project:
    """Draw the demo set in `folder` and import it as a project with all categories, nothing labelled.

    Doing it again finishes what was begun. The truth stays in folder/labels.csv.
    """
    render_demo(folder, on_progress=lambda done, total: on_progress(done, total, "drawing"))
    known = {project.name: project for project in actions.projects()}
    project = known.get(DEMO_PROJECT) or actions.create_project(DEMO_PROJECT)
    actions.import_folder(project.id, folder / "images", on_progress)
    present = {view.category.name for view in actions.categories(project.id)}
    for name in CATEGORIES:
        if name not in present:
            actions.add_category(project.id, name)
    return project


def _claim(folder: Path, *, recipe: dict[str, int]) -> None:
    """Note the recipe before the first picture; BadInput where another one was used."""
    note = folder / "demo.json"
    wanted = json.dumps(recipe)
    if not note.exists():
        if any((folder / "images").iterdir()):
            raise BadInput(f"{folder} holds pictures that are not this demo set; choose an empty folder.")
        write_atomic(note, wanted.encode())
    elif note.read_text(encoding="utf-8") != wanted:
        raise BadInput(
            f"{folder} holds a demo set drawn with another seed or version; choose an empty folder."
        )


def _choose(scene: random.Random) -> list[str]:
    """Two to five categories."""
    return scene.sample(CATEGORIES, scene.choice((2, 3, 3, 4, 4, 5)))


def _paint(shown: list[str], scene: random.Random) -> Image.Image:
    width, height = (side * SUPERSAMPLING for side in SIZE)
    horizon = scene.uniform(0.48, 0.60)
    lake = "boat" in shown
    ground = (horizon, max(0.70, horizon + (LAKE if lake else 0.12)))
    picture = _background(width, height, horizon=horizon, water=lake, scene=scene)
    draw = ImageDraw.Draw(picture)
    placed: dict[str, Box] = {}
    # The largest first: the small ones still find a free place.
    for name in sorted(shown, key=lambda category: -SKETCHES[category].height[1]):
        placed[name] = _place(name, list(placed.values()), ground=ground, crowd=len(shown), scene=scene)
    for name, (x0, y0, x1, y1) in sorted(placed.items(), key=lambda item: item[1][3]):
        box = (x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height)
        SKETCHES[name].draw(Pen(draw, *box, mirrored=scene.random() < 0.5), scene)
    return picture.resize(SIZE, Image.Resampling.LANCZOS)


def _background(width: int, height: int, *, horizon: float, water: bool, scene: random.Random) -> Image.Image:
    """Sky fading to the horizon, ground fading to the front, a lake where there is a boat."""
    high, low = scene.choice(SKIES)
    ground = scene.choice(GROUNDS)
    edge = int(horizon * height)
    picture = Image.new("RGB", (width, height), ground)
    picture.paste(_fade(width, edge, high, low), (0, 0))
    picture.paste(_fade(width, height - edge, shade(ground, 1.15), shade(ground, 0.88)), (0, edge))
    if water:
        lake = _fade(width, int(LAKE * height), (150, 200, 226), (78, 148, 198))
        picture.paste(lake, (0, edge))
    return picture


def _fade(width: int, height: int, top: Colour, bottom: Colour) -> Image.Image:
    mask = Image.linear_gradient("L").resize((width, height))
    return Image.composite(Image.new("RGB", mask.size, bottom), Image.new("RGB", mask.size, top), mask)


def _place(
    name: str, taken: list[Box], *, ground: tuple[float, float], crowd: int, scene: random.Random
) -> Box:
    """The least hidden of some random places, as (left, top, right, bottom) in shares of the scene.

    `ground` is the horizon and the farthest place to stand on.
    """
    places = [_somewhere(name, ground=ground, crowd=crowd, scene=scene) for _ in range(60)]
    return min(places, key=lambda box: max((_overlap(box, other) for other in taken), default=0.0))


def _somewhere(name: str, *, ground: tuple[float, float], crowd: int, scene: random.Random) -> Box:
    sketch = SKETCHES[name]
    tall = scene.uniform(*sketch.height) * (1.0, 0.92, 0.82)[max(0, min(crowd, 5) - 3)]
    wide = tall * sketch.aspect * SIZE[1] / SIZE[0]
    left = scene.uniform(0.02, 0.98 - wide)
    if sketch.sky:
        bottom = scene.uniform(0.02, 0.16) + tall
    elif name == "boat":
        bottom = ground[0] + scene.uniform(0.12, 0.24)
    else:
        bottom = scene.uniform(ground[1], 0.97)
    return left, bottom - tall, left + wide, bottom


def _overlap(one: Box, other: Box) -> float:
    """Shared area as a share of the smaller of the two boxes."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    if across <= 0 or down <= 0:
        return 0.0
    return across * down / min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))


def _jpeg(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=90)
    return data.getvalue()
