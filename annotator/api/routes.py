"""The hot path as plain JSON routes: what the page calls while a person labels."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from annotator.actions import Actions
from annotator.api import shapes
from annotator.api.models import CategoryBody, DecisionsBody, PathId, QueryId

router = APIRouter(prefix="/api/projects")

# Routes are plain functions: they wait for the disk, so each runs in a thread of the pool.


def actions_of(request: Request) -> Actions:
    """The application's one door to everything."""
    found = request.app.state.actions
    assert isinstance(found, Actions)
    return found


def user_of(request: Request) -> int:
    """The user the guard let in."""
    return int(request.state.user_id)


@router.get("")
def projects(request: Request, archived: bool = False) -> list[shapes.Json]:
    """The projects one is in; with `archived` those put away too."""
    actions = actions_of(request)
    found = actions.project_sizes(user_of(request), archived=archived)
    return [shapes.project(one, size, actions.removing.removable_from(one)) for one, size in found]


@router.get("/{project_id}/categories")
def categories(request: Request, project_id: PathId) -> list[shapes.Json]:
    """Active categories with their counts."""
    return shapes.categories(actions_of(request).categories(project_id))


@router.post("/{project_id}/categories")
def add_category(request: Request, project_id: PathId, body: CategoryBody) -> shapes.Json:
    """Add a category; 409 when the name is taken."""
    return shapes.category(actions_of(request).add_category(project_id, body.name))


@router.get("/{project_id}/deck")
def deck(
    request: Request,
    project_id: PathId,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    strategy: str | None = None,
    category: QueryId | None = None,
) -> shapes.Json:
    """Questions about images that still have unknown cells, in asking order."""
    return shapes.deck(
        actions_of(request).deck(
            project_id, limit, strategy=strategy, category_id=category, user_id=user_of(request)
        )
    )


@router.get("/{project_id}/grid")
def grid(
    request: Request,
    project_id: PathId,
    category: QueryId,
    limit: Annotated[int, Query(ge=1, le=500)] = 36,
    strategy: str | None = None,
) -> shapes.Json:
    """Unknown cells of one category over many images, in asking order."""
    return shapes.grid(
        actions_of(request).grid(project_id, category, limit, strategy=strategy, user_id=user_of(request))
    )


@router.get("/{project_id}/images/{image_id}")
def item(request: Request, project_id: PathId, image_id: PathId) -> shapes.Json:
    """One image with its cells and candidates."""
    return shapes.item(actions_of(request).item(project_id, image_id))


@router.get("/{project_id}/images/{image_id}/attention/{category_id}")
def attention(request: Request, project_id: PathId, image_id: PathId, category_id: PathId) -> shapes.Json:
    """Where the model looked for one category."""
    return shapes.attention(actions_of(request).attention(project_id, image_id, category_id))


@router.post("/{project_id}/decisions")
async def decide(request: Request, project_id: PathId, body: DecisionsBody) -> shapes.Json:
    """Store answers, all or none; they are on the disk when this answers."""
    new = [decision.record() for decision in body.decisions]
    given = await actions_of(request).decide_soon(project_id, new, user_of(request), given_by=body.given_by)
    return shapes.stored(*given)


@router.get("/{project_id}/status")
def status(request: Request, project_id: PathId) -> shapes.Json:
    """Counts, generation, job and worker."""
    return shapes.status(actions_of(request).status(project_id))


@router.post("/{project_id}/retrain")
def retrain(request: Request, project_id: PathId) -> shapes.Json:
    """Ask for a training; pressing it again never doubles it."""
    return shapes.retrain(actions_of(request).retrain(project_id))


@router.post("/{project_id}/cancel")
def cancel(request: Request, project_id: PathId) -> shapes.Json:
    """Cancel the waiting and the running training."""
    return {"message": actions_of(request).cancel(project_id)}
