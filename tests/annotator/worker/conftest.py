"""Fixtures of the worker's tests."""

from tests.annotator.worker.drawn import scenes

__all__ = ["scenes"]
