"""A line chart with axes, error bars and a legend, drawn with Pillow."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_WIDTH, _HEIGHT = 760, 560  # of a panel
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 24, 56, 84
_LEGEND_ROW = 28
_INK, _GRID = (30, 30, 30), (222, 222, 222)
_COLOURS = (
    (0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (213, 94, 0),
    (0, 114, 178), (204, 121, 167), (120, 94, 240), (136, 136, 136), (154, 99, 36),
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A mean with its spread over seeds at `x`, all as shares; None = undefined."""

    x: float
    mean: float | None
    spread: float | None


@dataclass(frozen=True)
class Panel:
    """One pair of axes with a named line per method."""

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, Sequence[Point]]


@dataclass(frozen=True)
class _Axes:
    """From shares to pixels; `low` and `high` in percent."""

    left: int
    xs: tuple[float, float]
    low: float
    high: float

    def x(self, share: float) -> float:
        width, (first, last) = _WIDTH - _LEFT - _RIGHT, self.xs
        place = 0.5 if last <= first else 0.04 + 0.92 * (share - first) / (last - first)
        return self.left + _LEFT + width * place

    def y(self, percent: float) -> float:
        height = _HEIGHT - _TOP - _BOTTOM
        return _HEIGHT - _BOTTOM - height * (percent - self.low) / (self.high - self.low)


def nice_range(values: Sequence[float]) -> tuple[float, float, float]:
    """Low, high and step of an axis that holds the values with four to ten round steps."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    width = max(high - low, 1e-3)
    power = 10.0 ** math.floor(math.log10(width / 5))
    step = next(power * m for m in (1, 2, 5, 10) if width / (power * m) <= 8)
    first, last = math.floor(low / step) * step, math.ceil(high / step) * step
    return first, last if last > first else first + step, step


def line_chart(panels: Sequence[Panel]) -> bytes:
    """The panels beside each other over one legend, as PNG; ValueError without a panel."""
    if not panels:
        raise ValueError("A chart needs at least one panel.")
    names = list(dict.fromkeys(name for panel in panels for name in panel.series))
    columns = 2 * len(panels)
    rows = math.ceil(len(names) / columns)
    image = Image.new("RGB", (_WIDTH * len(panels), _HEIGHT + _LEGEND_ROW * rows + 16), "white")
    draw = ImageDraw.Draw(image)
    for number, panel in enumerate(panels):
        _panel(draw, panel, names, left=number * _WIDTH)
    for number, name in enumerate(names):
        x = 40 + (number % columns) * (image.width - 40) // columns
        y = _HEIGHT + (number // columns) * _LEGEND_ROW + 10
        draw.line((x, y, x + 34, y), fill=_colour(number), width=3)
        _marker(draw, (x + 17, y), number)
        draw.text((x + 46, y), name, fill=_INK, font=_font(18), anchor="lm")
    target = io.BytesIO()
    image.save(target, format="PNG", optimize=True)
    return target.getvalue()


def _panel(draw: ImageDraw.ImageDraw, panel: Panel, names: Sequence[str], *, left: int) -> None:
    points = [point for line in panel.series.values() for point in line if point.mean is not None]
    ends = [_percent(point, side) for point in points for side in (-1, 1)]
    low, high, step = nice_range(ends)
    xs = sorted({point.x for line in panel.series.values() for point in line}) or [0.0]
    axes = _Axes(left, (xs[0], xs[-1]), low, high)
    _frame(draw, panel, axes, xs=xs, step=step)
    for name, line in panel.series.items():
        number = names.index(name)
        known = [point for point in line if point.mean is not None]
        places = [(axes.x(point.x), axes.y(_percent(point, 0))) for point in known]
        if len(places) > 1:
            draw.line(places, fill=_colour(number), width=3, joint="curve")
        for point, place in zip(known, places, strict=True):
            if point.spread:
                bar = (place[0], axes.y(_percent(point, -1)), place[0], axes.y(_percent(point, 1)))
                draw.line(bar, fill=_colour(number), width=1)
            _marker(draw, place, number)


def _frame(draw: ImageDraw.ImageDraw, panel: Panel, axes: _Axes, *, xs: Sequence[float], step: float) -> None:
    """Title, grid, ticks and labels of a pair of axes."""
    left, right = axes.left + _LEFT, axes.left + _WIDTH - _RIGHT
    bottom = _HEIGHT - _BOTTOM
    draw.text(((left + right) / 2, 28), panel.title, fill=_INK, font=_font(21), anchor="mm")
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    for tick in range(round((axes.high - axes.low) / step) + 1):
        value = axes.low + tick * step
        draw.line((left, axes.y(value), right, axes.y(value)), fill=_GRID)
        text = f"{value:.{digits}f}"
        draw.text((left - 10, axes.y(value)), text, fill=_INK, font=_font(16), anchor="rm")
    for share in xs:
        draw.line((axes.x(share), bottom, axes.x(share), bottom + 6), fill=_INK)
        draw.text((axes.x(share), bottom + 12), f"{100 * share:g}", fill=_INK, font=_font(16), anchor="ma")
    draw.line((left, _TOP, left, bottom, right, bottom), fill=_INK, width=2)
    draw.text(((left + right) / 2, bottom + 48), panel.x_label, fill=_INK, font=_font(18), anchor="mm")
    draw.text((axes.left + 10, _TOP - 20), panel.y_label, fill=_INK, font=_font(18), anchor="lm")


def _percent(point: Point, side: int) -> float:
    """The mean in percent, moved by the spread to one side."""
    return 100 * ((point.mean or 0.0) + side * (point.spread or 0.0))


def _colour(number: int) -> tuple[int, int, int]:
    return _COLOURS[number % len(_COLOURS)]


def _marker(draw: ImageDraw.ImageDraw, place: tuple[float, float], number: int) -> None:
    """A shape per line, so that colour is not the only difference."""
    sides = (0, 4, 3, 5, 6)[number % 5]
    if sides == 0:
        draw.circle(place, 6, fill=_colour(number))
    else:
        draw.regular_polygon((place[0], place[1], 8), sides, fill=_colour(number))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
