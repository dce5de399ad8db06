"""Which inline scripts of a page are the toolkit's own: those of its template with only data filled in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib.resources import files

_SCRIPT = re.compile(r"<script\b([^>]*)>(.*?)</script\s*>", re.DOTALL | re.IGNORECASE)
_SLOT = re.compile(r"\{\{.*?\}\}", re.DOTALL)


class InlineScripts:
    """Recognises the scripts of a template and names them for a Content-Security-Policy.

    A script that somebody managed to write into the page is none of the template's: no hash, not run.
    """

    def __init__(self, template: str) -> None:
        self._known = [_pattern(body) for body in _bodies(template)]

    @classmethod
    def of_gradio(cls) -> InlineScripts:
        """The page template of the installed Gradio."""
        template = files("gradio").joinpath("templates", "frontend", "index.html")
        return cls(template.read_text(encoding="utf-8"))

    def hashes(self, page: str) -> Sequence[str]:
        """Hash sources of the page's inline scripts that are the template's own, in order."""
        return [_hash(body) for body in _bodies(page) if any(_fits(one, body) for one in self._known)]


def _bodies(page: str) -> list[str]:
    return [found[2] for found in _SCRIPT.finditer(page) if not re.search(r"\bsrc\s*=", found[1])]


def _pattern(body: str) -> re.Pattern[str]:
    """The script with a group in place of every value that the template fills in."""
    return re.compile("(.*?)".join(re.escape(part) for part in _SLOT.split(body)), re.DOTALL)


def _fits(known: re.Pattern[str], body: str) -> bool:
    found = known.fullmatch(body)
    return found is not None and all(_is_data(text) for text in found.groups())


def _is_data(text: str) -> bool:
    """True for one JSON value that cannot end the script it stands in."""
    if "<" in text:
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _hash(body: str) -> str:
    # A browser hashes the script after it has made every line end a line feed.
    unified = body.replace("\r\n", "\n").replace("\r", "\n")
    return f"'sha256-{base64.b64encode(hashlib.sha256(unified.encode()).digest()).decode()}'"
