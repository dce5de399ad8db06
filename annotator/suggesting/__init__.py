"""Suggestions for unknown cells, served without the model library's tensors."""

from __future__ import annotations

from annotator.suggesting.generation import LoadedGeneration
from annotator.suggesting.names import NameVectors
from annotator.suggesting.pooled import PooledFeatures
from annotator.suggesting.states import ProjectStates
from annotator.suggesting.suggester import Suggester

__all__ = ["LoadedGeneration", "NameVectors", "PooledFeatures", "ProjectStates", "Suggester"]
