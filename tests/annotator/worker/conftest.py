"""Fixtures of the worker's tests."""

from tests.annotator.worker.drawn import scenes
from tests.annotator.worker.driving import backbone, worker

__all__ = ["backbone", "scenes", "worker"]
