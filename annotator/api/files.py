"""Bytes in and out: pictures, exports, label files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

from anyio import CancelScope, to_thread
from fastapi import APIRouter, Query, Request, UploadFile
from fastapi.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from annotator.api import previews, shapes
from annotator.api.errors import envelope
from annotator.api.lasting import check_of
from annotator.api.models import PathId
from annotator.api.routes import actions_of, user_of
from annotator.store.copying import TEMPORARY

router = APIRouter()

# A browser keeps a picture but asks each time whether it may still show it: a right can be taken away.
_PICTURE_HEADERS = {
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Content-Disposition": "inline",
}
# Up to this size, as every small picture of a page: sent piece by piece, each piece waits for a thread.
_AT_ONCE = 64 * 1024
LABEL_FILES = {"each": 2, "everybody": 8}  # read at once, of one person and of all: each takes a thread
_LABEL_SUFFIXES = frozenset({".csv", ".json"})


@router.get("/img/{image_id}")
def picture(
    request: Request, image_id: PathId, size: Annotated[Literal["thumb", "full"], Query()] = "full"
) -> Response:
    """A picture or its thumbnail, never any other file."""
    if "," in request.headers.get("range", ""):
        return envelope(416, "range", "A picture is given whole or as one range.")
    path, media_type = actions_of(request).image_file(image_id, size)
    found = path.stat()
    headers = _PICTURE_HEADERS | {"ETag": f'"{path.stem}-{found.st_mtime_ns:x}-{found.st_size:x}"'}
    if headers["ETag"] in _tags(request):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if found.st_size <= _AT_ONCE and "range" not in request.headers:
        return Response(path.read_bytes(), media_type=media_type, headers=headers)
    return FileResponse(path, media_type=media_type, headers=headers, stat_result=found)


@router.get("/api/projects/{project_id}/export/{kind}")
def export(request: Request, project_id: PathId, kind: Literal["coco", "csv"]) -> Response:
    """Every decided cell as a file to download."""
    actions = actions_of(request)
    write = actions.export_coco if kind == "coco" else actions.export_csv
    suffix, media_type = {"coco": (".json", "application/json"), "csv": (".csv", "text/csv; charset=utf-8")}[
        kind
    ]
    check = check_of(request.scope)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="export-", dir=_temporary(request)))
        path = Path(folder) / f"project-{project_id}{suffix}"
        write(project_id, path, check=check)
        check()
        sent = stack.pop_all()  # the file has to stay until it is sent
    return _Once(
        path,
        media_type=media_type,
        filename=path.name,
        headers={"Cache-Control": "no-store"},
        keeps=sent,
    )


@router.post("/api/projects/{project_id}/labels")
def import_labels(
    request: Request,
    project_id: PathId,
    file: UploadFile,
    mode: Annotated[Literal["strict", "lenient"], Query()] = "strict",
    preview: bool = False,
) -> shapes.Json:
    """Read labels from a CSV or COCO JSON file; all of it or nothing, or in lenient mode its good rows.

    With `preview` nothing is stored and the answer says how the file was read and what would happen.
    """
    with request.app.state.label_turns.one(str(user_of(request))), _kept(request, file) as path:
        if preview:
            return previews.label_preview(actions_of(request).preview_labels(project_id, path))
        return shapes.import_report(
            actions_of(request).import_labels(
                project_id, path, user_id=user_of(request), lenient=mode == "lenient"
            )
        )


class _Once(FileResponse):
    """A file made for one answer; what `keeps` it is closed however the sending ends."""

    def __init__(self, path: Path, *, keeps: ExitStack, **options: Any) -> None:
        super().__init__(path, **options)
        self._keeps = keeps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, then take it away."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):  # also when the answer was cut
                await to_thread.run_sync(self._keeps.close)


def _tags(request: Request) -> set[str]:
    """What a browser says it has: `If-None-Match` as single tags, weak or strong."""
    given = request.headers.get("if-none-match", "")
    return {tag.strip().removeprefix("W/") for tag in given.split(",")}


@contextmanager
def _kept(request: Request, file: UploadFile) -> Iterator[Path]:
    """The upload as a file under a name of ours: what a client calls it never becomes a path."""
    suffix = Path(file.filename or "").suffix.lower()
    name = f"labels{suffix if suffix in _LABEL_SUFFIXES else ''}"
    with tempfile.TemporaryDirectory(prefix="labels-", dir=_temporary(request)) as folder:
        path = Path(folder) / name
        with path.open("wb") as target:
            shutil.copyfileobj(file.file, target)
        yield path


def _temporary(request: Request) -> Path:
    folder: Path = request.app.state.settings.data_dir / TEMPORARY
    folder.mkdir(parents=True, exist_ok=True)
    return folder
