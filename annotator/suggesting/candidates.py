"""From scores and neighbours to candidates with their evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from annotator.records import CellState, Evidence, Suggestion
from annotator.suggesting.generation import LoadedGeneration
from annotator.suggesting.neighbours import Near
from annotator.suggesting.states import ProjectStates
from dsrb_core.calibration import Combiner, neighbour_logits, sigmoid

EVIDENCE = 3  # neighbours shown of each state
HEARD = 0.05  # log-odds, about one percentage point at one half: below, the context is not worth a word
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
    generation: LoadedGeneration,
    shortlist: Sequence[tuple[int, int]],
    *,
    logits: np.ndarray,
    context: np.ndarray,
    near: Sequence[Near] | None = None,
) -> list[Candidate]:
    """Candidates for (category, column) pairs from the model's logits (C,) and the context's shifts (C,).

    `near`: the neighbours of each pair, most similar first, of whom the nearest few vote and the rest is
    evidence; None when the generation has no instance features.
    """
    combiner = generation.combiner
    columns = np.array([column for _, column in shortlist], np.int64)
    votes = None if near is None else _votes(combiner, columns, near)
    model_only = combiner.probability(columns, logits[columns])
    probabilities = combiner.probability(columns, logits[columns] + context[columns], votes)
    return [
        Candidate(
            category_id=category_id,
            probability=float(probabilities[place]),
            basis=_basis(neighbours=near is not None, context=bool(abs(context[column]) >= HEARD)),
            model_probability=float(model_only[place]),
            neighbour_logit=None if votes is None else float(votes[place]),
            evidence=tuple if near is None else partial(_evidence, near[place]),
        )
        for place, (category_id, column) in enumerate(shortlist)
    ]


def _basis(*, neighbours: bool, context: bool) -> str:
    return "+".join(["model", *["neighbours"] * neighbours, *["context"] * context])


def _votes(combiner: Combiner, columns: np.ndarray, near: Sequence[Near]) -> np.ndarray:
    """Log-odds (n,) by the k nearest of each."""
    similarities = np.full((len(near), combiner.k), -np.inf)
    states = np.zeros((len(near), combiner.k), np.int8)
    for place, found in enumerate(near):
        count = min(combiner.k, len(found.ids))
        similarities[place, :count] = found.similarities[:count]
        states[place, :count] = found.states[:count]
    return neighbour_logits(
        similarities,
        states,
        prior=combiner.prior[columns],
        temperature=combiner.temperature,
        strength=combiner.strength,
    )


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
