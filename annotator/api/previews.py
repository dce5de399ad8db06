"""How a preview of a label file looks as JSON."""

from __future__ import annotations

from annotator.api.shapes import Json
from annotator.previews import LabelPreview, SeenRow

MANY = 50  # columns, cells of a row, bad rows: more are counted


def label_preview(found: LabelPreview) -> Json:
    """How the file was read and what importing it would do."""
    dialect = found.dialect
    return {
        "file": found.file,
        "form": dialect.form,
        "encoding": dialect.encoding,
        "separator": dialect.separator,
        "quoted": dialect.quoted,
        "columns": [{"name": one.name, "meaning": one.meaning} for one in found.columns[:MANY]],
        "columns_in_all": len(found.columns),
        "categories_new": found.categories_new,
        "rows": {"known": found.known_rows, "unknown": found.unknown_rows, "bad": found.bad_rows},
        "cells": {state.word: count for state, count in found.cells.items()},
        "would": {"store": found.new, "same": found.same, "kept": found.kept, "stay_cleared": found.cleared},
        "first": [_row(row) for row in found.first],
        "bad": [{"name": row.name, "reason": row.reason} for row in found.bad[:MANY]],
        "notes": list(found.notes),
    }


def _row(row: SeenRow) -> Json:
    return {
        "where": row.where,
        "image": row.image,
        "cells": [{"category": name, "state": state.word} for name, state in row.cells[:MANY]],
        "decided": len(row.cells),
        "unknown": row.unknown,
    }
