"""Which question to ask next: cells in order of what they are worth, a random stream, a cold start."""

from __future__ import annotations

from annotator.ordering.records import Grid, GridCell, Ordered, Proposal, Question
from annotator.ordering.service import Ordering
from annotator.ordering.words import DEFAULT, STRATEGIES

__all__ = ["DEFAULT", "STRATEGIES", "Grid", "GridCell", "Ordered", "Ordering", "Proposal", "Question"]
