"""What may stand in the log: one line per event, nothing that steers a terminal, no secret (A-39).

`set_up` gives the program its one handler; `write_as` chooses text for people or JSON for collectors.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

from rich.console import Console
from rich.logging import RichHandler

LogFormat = Literal["auto", "text", "json"]

# The guard sets it; every refusal of the request and every line of the log about it carry it.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
HIDDEN = "[hidden]"
LONGEST = 4000  # signs of a message in JSON: collectors cut longer lines, and half an object is none
LONGEST_TRACE = 8000
_READ = 32_000  # the same for people: what somebody sends may be megabytes
_EDGE = 200  # signs beside a cut that are left out, since half a secret is not known for one
_SECRETS = (
    re.compile(r"(annotator_session=\"?)[^;\s\"',]+"),
    re.compile(r"()\bannotator_[A-Za-z0-9_-]{20,}"),
    re.compile(r"(\bbearer\s+)[^\s\"',]+", re.IGNORECASE),
    re.compile(r"(/invite/)[^\s/?\"']+"),
    re.compile(
        r"((?<![^\W_])(?:password|secret|token|api[_-]?key)[\"']?\s*[=:]\s*[\"']?)[^\s&\"',;]+", re.IGNORECASE
    ),
)
_INDENT = "    | "  # no line of a traceback can pass for an event of its own


class Tidy(logging.Filter):
    """Put on every handler: a client's text in a record can neither forge a line nor show a secret."""

    def __init__(self, indent: str = _INDENT, *, longest: int = _READ, longest_trace: int = _READ) -> None:
        super().__init__()
        self._indent, self._longest, self._longest_trace = indent, longest, longest_trace

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; always True."""
        record.msg = _shortened(_message(record), self._longest, tidy, edge=_EDGE)
        record.args = ()
        if record.exc_info and record.exc_info[0] is not None:
            told = "".join(traceback.format_exception(*record.exc_info))
            record.exc_text = self._trace(told)
            record.exc_info = None  # handlers that draw tracebacks themselves would draw the raw text
        if record.stack_info:
            record.stack_info = self._trace(record.stack_info)
        return True

    def _trace(self, text: str) -> str:
        return _shortened(text, self._longest_trace, self._lines, edge=_EDGE)

    def _lines(self, text: str) -> str:
        return "\n".join(self._indent + tidy(line) for line in text.splitlines())


class JsonLines(logging.Formatter):
    """One JSON object a line, in ASCII: what is in it cannot end the line in any encoding.

    Always: time (ISO 8601, UTC), level, logger, pid, message. Where there is one: request_id, exception.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end; the record has been through `Tidy`."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": _shortened(record.getMessage(), LONGEST),
        }
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        trace = "\n".join(part for part in (record.exc_text, record.stack_info) if part)
        if trace:
            line["exception"] = _shortened(trace, LONGEST_TRACE)
        return json.dumps(line, ensure_ascii=True)


def set_up() -> None:
    """Give the program its one handler, for text.

    Does nothing where records have a way already: a program that uses this one decides itself.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    root.setLevel(logging.WARNING)
    root.addHandler(_handler("text"))


def write_as(wanted: LogFormat) -> None:
    """Write from now on as text or as JSON; `auto` is text on a terminal and JSON everywhere else.

    What nobody caught, and warnings, go the same way. Does nothing for a program with handlers of its own.
    """
    root = logging.getLogger()
    ours = [one for one in root.handlers if _is_ours(one)]
    if not ours:
        return
    chosen = ("text" if sys.stderr.isatty() else "json") if wanted == "auto" else wanted
    for one in ours:
        root.removeHandler(one)
    root.addHandler(_handler(chosen))
    logging.captureWarnings(True)
    sys.excepthook = _uncaught  # not in `set_up`: the terminal's library sets one of its own before a verb
    threading.excepthook = _uncaught_in_thread


def as_json() -> bool:
    """True when the program writes its log as JSON: nothing else belongs on standard error then."""
    return any(isinstance(one.formatter, JsonLines) for one in logging.getLogger().handlers)


def tidy(text: str) -> str:
    """One line of visible signs without secrets; control signs become their escapes."""
    for secret in _SECRETS:
        text = secret.sub(rf"\g<1>{HIDDEN}", text)
    return visible(text)


def visible(text: str) -> str:
    """One line of visible signs: control signs become their escapes."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _handler(chosen: Literal["text", "json"]) -> logging.Handler:
    made: logging.Handler
    if chosen == "json":
        made = logging.StreamHandler()
        made.setFormatter(JsonLines())
        made.addFilter(Tidy(indent="", longest=LONGEST, longest_trace=LONGEST_TRACE))
    elif sys.stderr.isatty():
        console = Console(stderr=True)
        made = RichHandler(console=console, show_path=False, show_time=False, markup=False)
        made.setFormatter(logging.Formatter("%(message)s"))
        made.addFilter(Tidy())
    else:  # Rich would break long lines where nobody looks at them
        made = logging.StreamHandler()
        made.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        made.addFilter(Tidy())
    return made


def _is_ours(handler: logging.Handler) -> bool:
    return any(isinstance(one, Tidy) for one in handler.filters)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger(__name__).critical("process %s ends", os.getpid(), exc_info=(kind, error, trace))


def _uncaught_in_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is None or issubclass(found.exc_type, SystemExit):
        return
    name = found.thread.name if found.thread is not None else "unknown"
    told = (found.exc_type, found.exc_value, found.exc_traceback)
    logging.getLogger(__name__).error("thread %s ended with an error", name, exc_info=told)


def _shortened(text: str, most: int, make: Callable[[str], str] = str, *, edge: int = 0) -> str:
    """What `make` makes of a text, of a long one of its beginning and its end, where an error's cause stands.

    `edge` signs beside the cut are left out, too.
    """
    if len(text) <= most:
        return make(text)
    half = most // 2
    left = len(text) - 2 * (half - edge)
    head = make(text[:half])
    return f"{head[: len(head) - edge]} [... {left} signs left out ...] {make(text[-half:])[edge:]}"


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError) as error:
        return f"{record.msg!r} could not be written with its values: {error}"
