"""A process as it begins, as far as its log goes."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def fresh_program() -> Iterator[io.StringIO]:
    """No handler anywhere, standard error goes to this text; afterwards everything is as it was.

    Not a fixture: pytest puts its own handlers on the root between the fixtures and the test.
    """
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", [])
        patch.setattr(sys, "stderr", said)
        patch.setattr(sys, "excepthook", sys.excepthook)
        patch.setattr(threading, "excepthook", threading.excepthook)
        try:
            yield said
        finally:
            logging.captureWarnings(False)
            logging.getLogger().setLevel(logging.WARNING)
