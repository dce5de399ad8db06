"""From scores and neighbours to candidates with their evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from annotator.records import CellState, Evidence, Suggestion
from annotator.suggesting.generation import LoadedGeneration
from annotator.suggesting.neighbours import CategoryIndex, Near
from annotator.suggesting.states import ProjectStates
from dsrb_core.calibration import neighbour_logits, sigmoid

EVIDENCE = 3  # neighbours shown of each state
WHOLE_TEMPERATURE = 0.1  # cosines of whole pictures lie close together
WHOLE_STRENGTH = 1.0


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A probability whose evidence is looked up only when it is shown."""

    category_id: int
    probability: float
    basis: str
    evidence: Callable[[], tuple[Evidence, ...]]
    model_probability: float | None = None
    neighbour_logit: float | None = None


def from_priors(asked: Sequence[int], prior: np.ndarray) -> list[Candidate]:
    """How frequent each category is, for a picture nothing else is known of."""
    return [
        Candidate(category_id=c, probability=float(p), basis="prior", evidence=tuple)
        for c, p in zip(asked, prior, strict=True)
    ]


def from_whole_pictures(
    near: Near, asked: Sequence[int], *, prior: np.ndarray, cells: np.ndarray
) -> list[Candidate]:
    """A similarity-weighted vote over the decided cells (n, m) of similar pictures, pulled to `prior`."""
    said = cells.T
    votes = neighbour_logits(
        np.broadcast_to(near.similarities, said.shape),
        said,
        prior=prior,
        temperature=WHOLE_TEMPERATURE,
        strength=WHOLE_STRENGTH,
    )
    made = []
    for c, vote, states, base in zip(asked, votes, said, from_priors(asked, prior), strict=True):
        if not (np.abs(states) == 1).any():
            made.append(base)
            continue
        found = replace(near, states=states)
        made.append(
            Candidate(
                category_id=c,
                probability=float(sigmoid(vote)),
                basis="neighbours",
                neighbour_logit=float(vote),
                evidence=partial(_evidence, found),
            )
        )
    return made


def from_model(
    generation: LoadedGeneration, shortlist: Sequence[tuple[int, int]], logits: np.ndarray
) -> list[Candidate]:
    """Candidates for (category, column) pairs from the model's logits (C,) alone."""
    columns = np.array([column for _, column in shortlist])
    probabilities = generation.combiner.probability(columns, logits[columns])
    return [
        Candidate(
            category_id=c, probability=float(p), basis="model", model_probability=float(p), evidence=tuple
        )
        for (c, _), p in zip(shortlist, probabilities, strict=True)
    ]


def from_model_and_neighbours(
    generation: LoadedGeneration,
    near: Sequence[tuple[int, int, CategoryIndex, Near]],
    *,
    logits: np.ndarray,
    vectors: np.ndarray,
    image_id: int,
) -> list[Candidate]:
    """Candidates from logits (C,) and from the neighbours that each (category, column) has `near` it."""
    if not near:
        return []
    combiner = generation.combiner
    columns = np.array([column for _, column, _, _ in near])
    similarities = np.full((len(near), combiner.k), -np.inf)
    states = np.zeros((len(near), combiner.k), np.int8)
    for place, (_, _, _, found) in enumerate(near):
        similarities[place, : len(found.ids)] = found.similarities
        states[place, : len(found.ids)] = found.states
    votes = neighbour_logits(
        similarities,
        states,
        prior=combiner.prior[columns],
        temperature=combiner.temperature,
        strength=combiner.strength,
    )
    probabilities = combiner.probability(columns, logits[columns], votes)
    model_only = combiner.probability(columns, logits[columns])
    return [
        Candidate(
            category_id=category_id,
            probability=float(probabilities[place]),
            basis="model+neighbours",
            model_probability=float(model_only[place]),
            neighbour_logit=float(votes[place]),
            evidence=partial(_deep_evidence, index, vectors[column], found, image_id),
        )
        for place, (category_id, column, index, found) in enumerate(near)
    ]


def _deep_evidence(
    index: CategoryIndex, vector: np.ndarray, found: Near, image_id: int
) -> tuple[Evidence, ...]:
    """Evidence from `found`, or from a wider search while one state has too few among the nearest."""
    k = max(1, len(found.ids))
    while k < len(index) and min((found.states == 1).sum(), (found.states == -1).sum()) < EVIDENCE:
        k *= 16
        found = index.nearest(vector, k, exclude=image_id)
    return _evidence(found)


def _evidence(near: Near) -> tuple[Evidence, ...]:
    """The nearest confirmed positives, then the nearest confirmed negatives."""
    return tuple(
        Evidence(
            image_id=int(near.ids[place]),
            state=state,
            similarity=float(np.clip(near.similarities[place], -1, 1)),
        )
        for state in (CellState.POSITIVE, CellState.NEGATIVE)
        for place in np.nonzero(near.states == state)[0][:EVIDENCE]
    )


def shown(candidate: Candidate, states: ProjectStates) -> Suggestion:
    """The suggestion as it leaves, its evidence looked up."""
    return Suggestion(
        category_id=candidate.category_id,
        probability=candidate.probability,
        basis=candidate.basis,
        model_probability=candidate.model_probability,
        neighbour_logit=candidate.neighbour_logit,
        evidence=candidate.evidence(),
        known=states.known(candidate.category_id),
    )
