"""The twelve everyday objects of the demo set, drawn in a unit box with Pillow."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

DARK: Colour = (45, 42, 48)
WHITE: Colour = (252, 252, 250)
SKIN: Sequence[Colour] = ((255, 219, 186), (234, 189, 150), (188, 132, 92), (122, 80, 54))
BRIGHT: Sequence[Colour] = (
    (214, 48, 49), (230, 126, 34), (241, 196, 15), (39, 143, 79), (22, 160, 163),
    (41, 98, 192), (110, 68, 173), (222, 84, 140), (120, 72, 44), (70, 84, 104),
)  # fmt: skip


def shade(colour: Colour, factor: float) -> Colour:
    """The colour darker (factor below 1) or lighter (above 1)."""
    if factor <= 1:
        return tuple(int(c * factor) for c in colour)  # type: ignore[return-value]
    return tuple(int(c + (255 - c) * (factor - 1)) for c in colour)  # type: ignore[return-value]


@dataclass(frozen=True)
class Pen:
    """Draws in a box whose corners are (0, 0) and (1, 1), whatever its place and size in pixels."""

    draw: ImageDraw.ImageDraw
    left: float
    top: float
    width: float
    height: float
    mirrored: bool

    def _at(self, point: Point) -> Point:
        x = 1 - point[0] if self.mirrored else point[0]
        return self.left + x * self.width, self.top + point[1] * self.height

    def _box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        (ax, ay), (bx, by) = self._at((x0, y0)), self._at((x1, y1))
        return min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)

    def _line_width(self, width: float) -> int:
        return max(1, round(width * min(self.width, self.height)))

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        """A filled polygon."""
        self.draw.polygon([self._at(p) for p in points], fill=fill)

    def line(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """A stroke with round ends; `width` as a share of the shorter side."""
        pixels = self._line_width(width)
        placed = [self._at(p) for p in points]
        self.draw.line(placed, fill=fill, width=pixels, joint="curve")
        for x, y in placed:
            self.draw.ellipse((x - pixels / 2, y - pixels / 2, x + pixels / 2, y + pixels / 2), fill=fill)

    def oval(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        """A filled ellipse in its box."""
        self.draw.ellipse(self._box(x0, y0, x1, y1), fill=fill)

    def ring(self, centre: Point, radius: float, fill: Colour, width: float) -> None:
        """A circle's outline; `radius` as a share of the width."""
        x, y = self._at(centre)
        r = radius * self.width
        self.draw.ellipse((x - r, y - r, x + r, y + r), outline=fill, width=self._line_width(width))

    def disc(self, centre: Point, radius: float, fill: Colour) -> None:
        """A filled circle; `radius` as a share of the width."""
        x, y = self._at(centre)
        r = radius * self.width
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)

    def block(
        self, x0: float, y0: float, x1: float, y1: float, fill: Colour, *, round_by: float = 0.0
    ) -> None:
        """A filled rectangle with rounded corners."""
        self.draw.rounded_rectangle(
            self._box(x0, y0, x1, y1), self._line_width(round_by) if round_by else 0, fill
        )

    def slice(
        self, x0: float, y0: float, x1: float, y1: float, fill: Colour, *, start: float, end: float
    ) -> None:
        """A pie slice of the ellipse in a box, in degrees clockwise from the right."""
        self.draw.pieslice(self._box(x0, y0, x1, y1), start, end, fill=fill)


def house(pen: Pen, pick: random.Random) -> None:
    """Walls, gabled roof, chimney, door, windows."""
    wall = pick.choice(((244, 226, 190), (236, 205, 178), (214, 224, 232), (250, 240, 220), (222, 184, 150)))
    roof = pick.choice(((178, 58, 46), (142, 64, 44), (84, 78, 92), (160, 82, 60)))
    pen.block(0.70, 0.06, 0.82, 0.34, shade(roof, 0.75))
    pen.block(0.12, 0.40, 0.88, 1.0, wall)
    pen.block(0.12, 0.40, 0.88, 0.47, shade(wall, 0.85))
    pen.polygon([(0.02, 0.45), (0.5, 0.04), (0.98, 0.45)], roof)
    pen.polygon([(0.02, 0.45), (0.5, 0.04), (0.5, 0.10), (0.09, 0.45)], shade(roof, 0.8))
    door = pick.choice(((110, 70, 42), (52, 98, 140), (60, 120, 80)))
    pen.block(0.43, 0.66, 0.60, 1.0, door, round_by=0.02)
    pen.disc((0.57, 0.84), 0.015, (240, 210, 90))
    for x in (0.20, 0.67):
        pen.block(x, 0.56, x + 0.15, 0.74, WHITE)
        pen.block(x + 0.015, 0.575, x + 0.135, 0.725, (134, 190, 222))
        pen.line([(x + 0.075, 0.57), (x + 0.075, 0.73)], WHITE, 0.015)
        pen.line([(x + 0.01, 0.65), (x + 0.14, 0.65)], WHITE, 0.015)


def tree(pen: Pen, pick: random.Random) -> None:
    """A trunk with a leafy crown, or a fir."""
    green = pick.choice(((58, 134, 62), (82, 150, 58), (38, 110, 66), (112, 148, 48)))
    trunk = (112, 76, 48)
    if pick.random() < 0.35:
        pen.block(0.44, 0.82, 0.56, 1.0, trunk)
        for top, bottom, half in ((0.50, 0.88, 0.40), (0.27, 0.64, 0.32), (0.04, 0.40, 0.23)):
            pen.polygon([(0.5, top), (0.5 - half, bottom), (0.5 + half, bottom)], green)
            pen.polygon([(0.5, top), (0.5 + half, bottom), (0.5 + half * 0.2, bottom)], shade(green, 0.82))
        return
    pen.polygon([(0.44, 0.5), (0.56, 0.5), (0.61, 1.0), (0.39, 1.0)], trunk)
    pen.line([(0.5, 0.68), (0.33, 0.5)], trunk, 0.05)
    pen.line([(0.5, 0.64), (0.68, 0.47)], trunk, 0.05)
    for x, y, r in ((0.30, 0.42, 0.23), (0.70, 0.42, 0.23), (0.5, 0.24, 0.24), (0.5, 0.44, 0.25)):
        pen.oval(x - r, y - r, x + r, y + r, shade(green, 0.86))
    for x, y, r in ((0.27, 0.38, 0.17), (0.65, 0.36, 0.17), (0.46, 0.20, 0.17)):
        pen.oval(x - r, y - r, x + r, y + r, green)
    for x, y in ((0.25, 0.33), (0.42, 0.15), (0.60, 0.30)):
        pen.oval(x - 0.05, y - 0.04, x + 0.05, y + 0.04, shade(green, 1.25))


def car(pen: Pen, pick: random.Random) -> None:
    """A saloon car from the side (box 2 wide to 1 high)."""
    paint = pick.choice(BRIGHT)
    pen.polygon([(0.20, 0.46), (0.32, 0.12), (0.64, 0.12), (0.80, 0.46)], paint)
    pen.polygon([(0.27, 0.44), (0.35, 0.19), (0.47, 0.19), (0.47, 0.44)], (190, 222, 238))
    pen.polygon([(0.51, 0.44), (0.51, 0.19), (0.61, 0.19), (0.73, 0.44)], (190, 222, 238))
    pen.block(0.02, 0.42, 0.98, 0.80, paint, round_by=0.14)
    pen.block(0.03, 0.66, 0.97, 0.80, shade(paint, 0.78), round_by=0.06)
    pen.line([(0.49, 0.46), (0.49, 0.70)], shade(paint, 0.7), 0.02)
    pen.block(0.53, 0.52, 0.59, 0.56, shade(paint, 0.55))
    pen.oval(0.92, 0.48, 0.985, 0.60, (255, 240, 170))
    pen.block(0.02, 0.50, 0.055, 0.60, (200, 40, 40))
    for x in (0.23, 0.77):
        pen.disc((x, 0.80), 0.098, DARK)
        pen.disc((x, 0.80), 0.052, (205, 208, 212))
        pen.disc((x, 0.80), 0.018, DARK)


def sun(pen: Pen, pick: random.Random) -> None:
    """A disc with rays."""
    gold = pick.choice(((255, 204, 30), (255, 184, 28), (255, 216, 70)))
    turn = pick.random()
    for n in range(12):
        angle = 2 * math.pi * (n + turn) / 12
        wide = 0.11
        tip = (0.5 + 0.49 * math.cos(angle), 0.5 + 0.49 * math.sin(angle))
        feet = [(0.5 + 0.33 * math.cos(angle + s), 0.5 + 0.33 * math.sin(angle + s)) for s in (-wide, wide)]
        pen.polygon([tip, *feet], shade(gold, 0.96))
    pen.disc((0.5, 0.5), 0.28, gold)
    pen.disc((0.46, 0.46), 0.20, shade(gold, 1.25))


def cloud(pen: Pen, pick: random.Random) -> None:
    """Puffs on a flat foot (box 2 wide to 1 high)."""
    white = pick.choice((WHITE, (240, 244, 250), (226, 230, 238)))
    grey = shade(white, 0.88)
    for tone, drop in ((grey, 0.05), (white, 0.0)):
        pen.block(0.10, 0.55 + drop, 0.90, 0.90 + drop, tone, round_by=0.17)
        for x, y, rx, ry in ((0.26, 0.56, 0.17, 0.30), (0.48, 0.40, 0.20, 0.38), (0.72, 0.54, 0.18, 0.32)):
            pen.oval(x - rx, y - ry + drop, x + rx, y + ry + drop, tone)


def boat(pen: Pen, pick: random.Random) -> None:
    """A sailing boat on a strip of waves."""
    hull, sail = pick.choice(BRIGHT), pick.choice((WHITE, (255, 244, 214), (250, 214, 190)))
    pen.line([(0.50, 0.05), (0.50, 0.78)], (110, 74, 46), 0.035)
    pen.polygon([(0.54, 0.08), (0.54, 0.68), (0.94, 0.68)], sail)
    pen.polygon([(0.46, 0.16), (0.46, 0.68), (0.14, 0.68)], shade(sail, 0.9))
    pen.polygon([(0.50, 0.03), (0.50, 0.11), (0.64, 0.07)], pick.choice(BRIGHT))
    pen.polygon([(0.04, 0.73), (0.97, 0.73), (0.82, 0.95), (0.20, 0.95)], hull)
    pen.polygon([(0.04, 0.73), (0.97, 0.73), (0.93, 0.79), (0.085, 0.79)], shade(hull, 1.35))
    for n in range(5):
        x = 0.02 + n * 0.195
        pen.slice(x, 0.88, x + 0.20, 1.06, (72, 142, 200), start=180, end=360)


def person(pen: Pen, pick: random.Random) -> None:
    """A standing figure (box 1 wide to 2 high)."""
    skin, shirt, legs = (
        pick.choice(SKIN),
        pick.choice(BRIGHT),
        pick.choice(((50, 66, 110), (70, 60, 56), (96, 96, 104))),
    )
    hair = pick.choice(((52, 36, 26), (120, 78, 40), (30, 28, 30), (206, 164, 88)))
    for x, foot in ((0.40, 0.32), (0.60, 0.68)):
        pen.line([(x, 0.60), (x, 0.93)], legs, 0.17)
        pen.line([(x, 0.965), (foot, 0.965)], DARK, 0.10)
    lift = pick.choice((0.52, 0.52, 0.14))
    if pick.random() < 0.4:
        pen.block(0.26, 0.03, 0.74, 0.27, hair, round_by=0.22)
    pen.line([(0.30, 0.31), (0.13, 0.52)], shade(shirt, 0.88), 0.13)
    pen.line([(0.70, 0.31), (0.87, lift)], shade(shirt, 0.88), 0.13)
    pen.disc((0.13, 0.54), 0.07, skin)
    pen.disc((0.87, lift + (0.02 if lift > 0.3 else -0.02)), 0.07, skin)
    pen.block(0.27, 0.26, 0.73, 0.62, shirt, round_by=0.14)
    pen.block(0.44, 0.20, 0.56, 0.29, shade(skin, 0.9))
    pen.disc((0.5, 0.125), 0.19, skin)
    pen.slice(0.30, 0.02, 0.70, 0.20, hair, start=180, end=360)
    for x in (0.43, 0.57):
        pen.disc((x, 0.125), 0.022, DARK)
    pen.slice(0.42, 0.135, 0.58, 0.19, (180, 60, 60), start=10, end=170)


def cat(pen: Pen, pick: random.Random) -> None:
    """A sitting cat seen from the front."""
    fur = pick.choice(((226, 142, 62), (92, 92, 98), (56, 52, 54), (196, 170, 140), (240, 236, 228)))
    stripe, pink = shade(fur, 0.72), (238, 150, 156)
    pen.line([(0.70, 0.92), (0.92, 0.86), (0.95, 0.66), (0.88, 0.54)], fur, 0.085)
    pen.oval(0.24, 0.44, 0.78, 1.0, fur)
    pen.oval(0.40, 0.56, 0.62, 0.92, shade(fur, 1.35))
    for x in (0.34, 0.54):
        pen.oval(x, 0.88, x + 0.15, 1.0, shade(fur, 1.15))
    for near, far, tip in ((0.26, 0.45, 0.24), (0.76, 0.57, 0.78)):
        pen.polygon([(near, 0.30), (far, 0.16), (tip, 0.02)], fur)
        middle = (near + far + tip) / 3
        pen.polygon(
            [
                (near * 0.8 + middle * 0.2, 0.25),
                (far * 0.7 + middle * 0.3, 0.17),
                (tip * 0.8 + middle * 0.2, 0.07),
            ],
            pink,
        )
    pen.oval(0.22, 0.12, 0.80, 0.58, fur)
    for x in (0.46, 0.51, 0.56):
        pen.line([(x, 0.15), (x, 0.23)], stripe, 0.02)
    for x in (0.385, 0.635):
        pen.oval(x - 0.058, 0.28, x + 0.058, 0.40, (164, 206, 82))
        pen.oval(x - 0.02, 0.285, x + 0.02, 0.395, DARK)
    pen.oval(0.41, 0.41, 0.61, 0.54, shade(fur, 1.4))
    pen.polygon([(0.47, 0.41), (0.55, 0.41), (0.51, 0.455)], pink)
    pen.line([(0.51, 0.45), (0.51, 0.48), (0.46, 0.51)], DARK, 0.012)
    pen.line([(0.51, 0.48), (0.56, 0.51)], DARK, 0.012)
    for y in (0.43, 0.48):
        pen.line([(0.40, y), (0.16, y - 0.03 + (y - 0.43))], shade(fur, 0.5), 0.008)
        pen.line([(0.62, y), (0.86, y - 0.03 + (y - 0.43))], shade(fur, 0.5), 0.008)


def flower(pen: Pen, pick: random.Random) -> None:
    """Petals round a heart on a stem with leaves (box 1 wide to 2 high)."""
    petal = pick.choice(
        ((232, 64, 82), (240, 120, 178), (250, 250, 246), (150, 96, 210), (250, 170, 40), (90, 130, 230))
    )
    green = (62, 140, 60)
    pen.line([(0.5, 0.30), (0.48, 0.65), (0.5, 1.0)], green, 0.07)
    pen.polygon([(0.49, 0.82), (0.30, 0.74), (0.08, 0.60), (0.20, 0.80)], shade(green, 1.15))
    pen.polygon([(0.49, 0.74), (0.70, 0.66), (0.92, 0.52), (0.80, 0.72)], green)
    petals = pick.choice((6, 8))
    for n in range(petals):
        angle = 2 * math.pi * n / petals
        x, y = 0.5 + 0.30 * math.cos(angle), 0.25 + 0.15 * math.sin(angle)
        pen.disc((x, y), 0.185, shade(petal, 0.93 if n % 2 else 1.0))
    pen.disc((0.5, 0.25), 0.17, (250, 206, 50) if petal != (250, 170, 40) else (120, 74, 40))
    pen.disc((0.47, 0.24), 0.09, (255, 226, 110) if petal != (250, 170, 40) else (150, 98, 56))


def ball(pen: Pen, pick: random.Random) -> None:
    """A beach ball."""
    colours = pick.sample(BRIGHT[:8], 3)
    pen.oval(0.08, 0.90, 0.92, 1.0, (96, 104, 92))
    turn = pick.uniform(0, 60)
    for n in range(6):
        colour = colours[n // 2] if n % 2 == 0 else WHITE
        pen.slice(0.03, 0.03, 0.97, 0.97, colour, start=turn + 60 * n, end=turn + 60 * (n + 1))
    pen.ring((0.5, 0.5), 0.47, shade(colours[0], 0.6), 0.025)
    pen.disc((0.5, 0.5), 0.09, WHITE)
    pen.ring((0.5, 0.5), 0.09, shade(colours[0], 0.7), 0.02)
    pen.oval(0.20, 0.14, 0.38, 0.28, (255, 255, 255))


def umbrella(pen: Pen, pick: random.Random) -> None:
    """An open umbrella with scallops and a hooked handle."""
    first, second = pick.sample(BRIGHT[:8], 2)
    second = pick.choice((second, WHITE, shade(first, 1.4)))
    wood = (96, 62, 40)
    pen.line([(0.5, 0.03), (0.5, 0.10)], wood, 0.03)
    pen.line([(0.5, 0.40), (0.5, 0.90)], wood, 0.035)
    pen.line([(0.5, 0.90), (0.52, 0.955), (0.575, 0.97), (0.63, 0.945), (0.64, 0.89)], wood, 0.035)
    edges = (0.02, 0.21, 0.40, 0.60, 0.79, 0.98)
    for n, (a, b) in enumerate(pairwise(edges)):
        colour = first if n % 2 == 0 else second
        rim = [_dome(a + (b - a) * t / 8) for t in range(9)]
        pen.polygon([(0.5, 0.07), *rim], colour)
        scallop = [(a + (b - a) * t / 8, 0.52 - 0.055 * math.sin(math.pi * t / 8)) for t in range(9)]
        pen.polygon([(0.5, 0.07), *_side(a), *scallop, *reversed(_side(b))], colour)


def _dome(x: float) -> Point:
    return x, 0.52 - 0.45 * math.sqrt(max(0.0, 1 - ((x - 0.5) / 0.48) ** 2))


def _side(x: float) -> list[Point]:
    """A rib from the top of the umbrella to its rim at x, bulging outwards."""
    turns = [math.pi / 2 * t / 10 for t in range(1, 11)]
    return [(0.5 + (x - 0.5) * math.sin(turn), 0.52 - 0.45 * math.cos(turn)) for turn in turns]


def bicycle(pen: Pen, pick: random.Random) -> None:
    """Two wheels, a diamond frame, saddle and handlebar (box 1.6 wide to 1 high)."""
    paint = pick.choice(BRIGHT)
    for x in (0.23, 0.77):
        pen.ring((x, 0.68), 0.205, DARK, 0.05)
        for n in range(4):
            dx, dy = 0.19 * math.cos(n * math.pi / 4), 0.19 * 1.6 * math.sin(n * math.pi / 4)
            pen.line([(x - dx, 0.68 - dy), (x + dx, 0.68 + dy)], (150, 152, 156), 0.008)
        pen.disc((x, 0.68), 0.025, DARK)
    crank, seat, head = (0.47, 0.70), (0.39, 0.28), (0.69, 0.26)
    for points in (
        (seat, crank, (0.23, 0.68), (0.405, 0.36)),
        ((0.405, 0.36), (0.695, 0.32), crank),
        (head, (0.77, 0.68)),
    ):
        pen.line(points, paint, 0.05)
    pen.line([seat, (0.375, 0.20)], DARK, 0.03)
    pen.line([(0.31, 0.19), (0.43, 0.19)], DARK, 0.06)
    pen.line([head, (0.675, 0.13), (0.76, 0.10)], DARK, 0.04)
    pen.disc(crank, 0.05, (120, 122, 126))
    pen.line([crank, (0.53, 0.84)], DARK, 0.025)
    pen.line([(0.50, 0.84), (0.56, 0.84)], DARK, 0.03)


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """How a category is drawn: width by height, range of heights as a share of the scene, sky or ground."""

    draw: Callable[[Pen, random.Random], None]
    aspect: float
    height: tuple[float, float]
    sky: bool = False


SKETCHES: dict[str, Sketch] = {
    "ball": Sketch(draw=ball, aspect=1.0, height=(0.17, 0.27)),
    "bicycle": Sketch(draw=bicycle, aspect=1.6, height=(0.26, 0.38)),
    "boat": Sketch(draw=boat, aspect=1.0, height=(0.34, 0.50)),
    "car": Sketch(draw=car, aspect=2.0, height=(0.20, 0.30)),
    "cat": Sketch(draw=cat, aspect=0.9, height=(0.28, 0.42)),
    "cloud": Sketch(draw=cloud, aspect=1.9, height=(0.16, 0.25), sky=True),
    "flower": Sketch(draw=flower, aspect=0.5, height=(0.28, 0.42)),
    "house": Sketch(draw=house, aspect=1.05, height=(0.40, 0.58)),
    "person": Sketch(draw=person, aspect=0.5, height=(0.42, 0.60)),
    "sun": Sketch(draw=sun, aspect=1.0, height=(0.22, 0.32), sky=True),
    "tree": Sketch(draw=tree, aspect=0.85, height=(0.46, 0.64)),
    "umbrella": Sketch(draw=umbrella, aspect=1.0, height=(0.34, 0.48)),
}
