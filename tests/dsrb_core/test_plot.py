"""The chart's axes and places."""

import io

import numpy as np
import pytest
from PIL import Image

from dsrb_core.plot import Panel, Point, line_chart, nice_range


def test_a_better_method_is_drawn_higher() -> None:
    line = {"low": [Point(x, 0.2, 0.0) for x in (0.1, 0.9)], "high": [Point(x, 0.6, 0.0) for x in (0.1, 0.9)]}
    pixels = np.asarray(Image.open(io.BytesIO(line_chart([Panel("t", "x", "y", line)]))).convert("RGB"))
    middle = pixels[45:485, 300:500]
    rows = [np.flatnonzero((middle == colour).all(-1).any(1)) for colour in ((0, 0, 0), (230, 159, 0))]
    assert rows[1].max() < rows[0].min()


@pytest.mark.parametrize("values", [[], [50.0], [41.2, 43.7], [0.0, 100.0], [59.94, 59.95], [3.0, 3.0]])
def test_an_axis_holds_its_values_in_a_few_round_steps(values: list[float]) -> None:
    low, high, step = nice_range(values)
    assert low < high
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in values)
    assert 1 <= round((high - low) / step) <= 10
