"""What may stand in the log: one line per event, nothing that steers a terminal, no secret (A-39)."""

from __future__ import annotations

import logging
import re
import traceback

HIDDEN = "[hidden]"
_SECRETS = (
    re.compile(r"(annotator_session=)[^;\s\"',]+"),
    re.compile(r"()\bannotator_[A-Za-z0-9_-]{20,}"),
    re.compile(r"(\bbearer\s+)[^\s\"',]+", re.IGNORECASE),
    re.compile(r"(/invite/)[^\s/?\"']+"),
    re.compile(r"(\b(?:password|secret|token|api[_-]?key)[\"']?\s*[=:]\s*[\"']?)[^\s&\"',;]+", re.IGNORECASE),
)
_INDENT = "    | "  # no line of a traceback can pass for an event of its own


class Tidy(logging.Filter):
    """Put on every handler: a client's text in a record can neither forge a line nor show a secret."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; always True."""
        record.msg = tidy(_message(record))
        record.args = ()
        if record.exc_info and record.exc_info[0] is not None:
            lines = "".join(traceback.format_exception(*record.exc_info)).splitlines()
            record.exc_text = "\n".join(_INDENT + tidy(line) for line in lines)
            record.exc_info = None  # handlers that draw tracebacks themselves would draw the raw text
        return True


def tidy(text: str) -> str:
    """One line of visible signs without secrets; control signs become their escapes."""
    for secret in _SECRETS:
        text = secret.sub(rf"\g<1>{HIDDEN}", text)
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError) as error:
        return f"{record.msg!r} could not be written with its values: {error}"
