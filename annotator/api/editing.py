"""Routes for the list of categories and for the history of a picture's cells."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from annotator.actions import Actions
from annotator.api import shapes
from annotator.api.models import CategoryBody, CategoryOrderBody, MergeBody, PathId, QueryId
from annotator.api.routes import actions_of, user_of
from annotator.records import Category

router = APIRouter(prefix="/api/projects/{project_id}")


def _counted(actions: Actions, project_id: int, found: Category) -> shapes.Json:
    return shapes.categories(actions.counted(project_id, [found]))[0]


@router.get("/categories/archived")
def archived(request: Request, project_id: PathId) -> list[shapes.Json]:
    """Categories that are no longer asked, the one archived last first."""
    actions = actions_of(request)
    return shapes.categories(actions.counted(project_id, actions.archived_categories(project_id)))


@router.put("/categories/order")
def reorder(request: Request, project_id: PathId, body: CategoryOrderBody) -> list[shapes.Json]:
    """Sort the list; 409 when it is not exactly the active categories."""
    actions = actions_of(request)
    return shapes.categories(actions.counted(project_id, actions.reorder_categories(project_id, body.ids)))


@router.patch("/categories/{category_id}")
def rename(request: Request, project_id: PathId, category_id: PathId, body: CategoryBody) -> shapes.Json:
    """Change the text of a category; 409 when the name is taken."""
    actions = actions_of(request)
    found = actions.rename_category(project_id, category_id, body.name, user_of(request))
    return _counted(actions, project_id, found)


@router.post("/categories/{category_id}/archive")
def archive(request: Request, project_id: PathId, category_id: PathId) -> shapes.Json:
    """Stop asking a category; its labels stay."""
    actions = actions_of(request)
    found = actions.archive_category(project_id, category_id, user_of(request))
    return _counted(actions, project_id, found)


@router.post("/categories/{category_id}/restore")
def restore(request: Request, project_id: PathId, category_id: PathId) -> shapes.Json:
    """Ask an archived category again; 409 when its name was given away."""
    actions = actions_of(request)
    found = actions.restore_category(project_id, category_id, user_of(request))
    return _counted(actions, project_id, found)


@router.post("/categories/{category_id}/merge")
def merge(request: Request, project_id: PathId, category_id: PathId, body: MergeBody) -> shapes.Json:
    """Let another category take over the answers of this one, which is archived."""
    actions = actions_of(request)
    if body.preview:
        return shapes.merged(actions.look_at_merge(project_id, category_id, body.into))
    return shapes.merged(actions.merge_categories(project_id, category_id, body.into, user_of(request)))


@router.get("/images/{image_id}/history")
def history(
    request: Request,
    project_id: PathId,
    image_id: PathId,
    category: QueryId | None = None,
    before: QueryId | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[shapes.Json]:
    """Who decided what about one picture and when, newest first; `before` a `seq` goes further back."""
    found = actions_of(request).history(
        project_id, image_id, category_id=category, before=before, limit=limit
    )
    return shapes.history(found)
