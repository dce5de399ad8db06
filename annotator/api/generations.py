"""Routes for the list of generations, and for using one of them again."""

from __future__ import annotations

from fastapi import APIRouter, Request

from annotator.api import shapes
from annotator.api.models import PathId
from annotator.api.routes import actions_of, user_of

router = APIRouter(prefix="/api/projects/{project_id}/generations")


@router.get("")
def generations(request: Request, project_id: PathId) -> list[shapes.Json]:
    """Every published generation with its status and figures, newest first."""
    return [shapes.generation(found) for found in actions_of(request).generations(project_id)]


@router.post("/{generation_id}/use")
def use(request: Request, project_id: PathId, generation_id: PathId) -> shapes.Json:
    """Make a kept generation the current one; 409 when it is already or has no files, 503 when damaged."""
    made = actions_of(request).roll_back(project_id, generation_id, user_id=user_of(request))
    return shapes.generation(made)
