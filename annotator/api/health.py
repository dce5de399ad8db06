"""Whether answers are saved: a word for everybody, sentences for every page, facts for an administrator."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request

from annotator.api.routes import actions_of, user_of
from annotator.api.shapes import Json
from annotator.errors import NotAllowed

router = APIRouter()


@router.get("/healthz")
def healthz(request: Request) -> dict[str, str]:
    """One word for everybody: "ok" while answers are saved, else "read_only" or "disk_full"."""
    status = actions_of(request).health().status
    return {"status": "ok" if status == "warning" else status}


@router.get("/api/health")
def health(request: Request) -> Json:
    """What people should know now; the details are for an administrator of the server."""
    actions = actions_of(request)
    found = actions.health()
    answer: Json = {"status": found.status, "notices": [asdict(notice) for notice in found.notices]}
    try:
        actions.rights.need_admin(user_of(request))
    except NotAllowed:
        return answer
    return answer | {"details": found.details}
