"""Errors of the page's events go the way of every other record: the toolkit writes them past the log.

Its own lines would be neither JSON nor free of secrets, and they hold what was sent, megabytes of it.
"""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


class Logged:
    """What the toolkit's modules use of `traceback`."""

    @staticmethod
    def print_exc() -> None:
        """Log the error that is being handled."""
        log.error("an event of the page failed", exc_info=True)


def log_errors_of_events() -> None:
    """Let the page toolkit write errors to the log."""
    from gradio import queueing, routes

    for module in (queueing, routes):
        vars(module)["traceback"] = Logged
