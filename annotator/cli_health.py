"""The terminal's help for a disk that is full; it does not open the database, which may need room itself."""

from __future__ import annotations

from annotator import health
from annotator.cli_common import DataDir, load_settings, out
from annotator.errors import StoreError


def free_space(data_dir: DataDir = None) -> None:
    """Give up the ballast: the room that was put aside for a full disk."""
    settings = load_settings(data_dir=data_dir)
    if not settings.data_dir.is_dir():
        raise StoreError(f"There is no data folder at {settings.data_dir}.")
    out.print(health.free_space(settings), markup=False, highlight=False, soft_wrap=True)
