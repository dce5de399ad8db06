"""The log as JSON: whatever is logged is one line that reads back, from server and worker alike (A-39)."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from annotator import logs
from annotator.actions import Actions
from annotator.api.app import create_app
from annotator.logs import HIDDEN, LONGEST, LONGEST_TRACE, REQUEST_ID, JsonLines, Tidy
from annotator.settings import Settings
from annotator.store import Store
from db.engine import sqlite_module
from tests.annotator.fresh_program import fresh_program
from tests.faults.claims import Claims, size

SECRET = "Zx9-Very_Secret-0123456789abcdef"
EVIL = 'a\r\n{"level": "CRITICAL"}\x1b[2J\u2028b\x85'


@contextmanager
def listening_in() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger whose records become JSON as the program's do."""
    target = io.StringIO()
    handler = logging.StreamHandler(target)
    handler.setFormatter(JsonLines())
    handler.addFilter(Tidy(indent="", longest=LONGEST, longest_trace=LONGEST_TRACE))
    log = logging.Logger("tests.logs.json")
    log.addHandler(handler)
    yield log, target


def read(text: str) -> list[dict[str, Any]]:
    """Every line as an object: a line that is none fails the test."""
    assert text.endswith("\n")
    return [json.loads(line) for line in text[:-1].split("\n")]


@settings(max_examples=200, deadline=None)
@given(st.text(), st.text(max_size=30))
@example(EVIL, EVIL)
@example("\ud800 \x00 \x1b]0;title\x07", "\udfff")
@example("%s %d %(name)s", "%")
def test_any_text_is_one_line_that_reads_back(text: str, other: str) -> None:
    with listening_in() as (log, target):
        log.error("picture %s of %s", text, other)
        log.error(text)
        try:
            raise RuntimeError(text)
        except RuntimeError:
            log.exception("it failed", stack_info=True)
    said = target.getvalue()
    assert said.isascii() and said.count("\n") == 3 and "\r" not in said
    first, second, third = read(said)
    for line in (first, second, third):
        assert line["message"].isprintable()
        assert set(line) - {"exception"} == {"time", "level", "logger", "pid", "message"}
    assert all(part.isprintable() for part in third["exception"].split("\n"))
    assert "RuntimeError" in third["exception"] and "Stack" in third["exception"]


def test_plain_text_is_what_it_was_and_the_moment_is_utc() -> None:
    with listening_in() as (log, target):
        log.warning("Größe 3 × 4, 画像 %d", 7)
    (line,) = read(target.getvalue())
    assert line["message"] == "Größe 3 × 4, 画像 7"
    assert (line["level"], line["logger"], line["pid"]) == ("WARNING", "tests.logs.json", os.getpid())
    moment = datetime.fromisoformat(line["time"])
    assert moment.utcoffset() == timedelta(0) and abs(datetime.now(UTC) - moment) < timedelta(minutes=5)


@pytest.mark.parametrize(
    "text",
    [
        f"GET /img/1?token={SECRET}",
        f"GET /img/1?access_token={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f'{{"password": "{SECRET}"}}',
        f"first_run_secret='{SECRET}'",
        f'Cookie: annotator_session="{SECRET}"',
    ],
)
def test_secrets_are_hidden_in_message_and_traceback(text: str) -> None:
    with listening_in() as (log, target):
        try:
            raise RuntimeError(text)
        except RuntimeError:
            log.exception("refused %s", text)
    assert SECRET not in target.getvalue()
    (line,) = read(target.getvalue())
    assert HIDDEN in line["message"] and HIDDEN in line["exception"]


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    with listening_in() as (log, target):
        log.error("begin %s end", "x" * 10**6)
    (line,) = read(target.getvalue())
    assert line["message"].startswith("begin x") and line["message"].endswith("x end")
    assert "996410 signs left out" in line["message"] and len(line["message"]) < LONGEST + 100


def test_the_line_about_a_request_carries_the_id_that_the_client_was_told(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(EVIL)

    app: FastAPI = create_app(store, settings)
    monkeypatch.setattr(Actions, "projects", broken)
    with listening_in() as (log, target), TestClient(
        app, base_url="http://127.0.0.1:7860", raise_server_exceptions=False
    ) as client:  # fmt: skip
        (handler,) = log.handlers
        errors = logging.getLogger("annotator.api.errors")
        errors.addHandler(handler)
        try:
            told = client.get("/api/projects").json()["error"]["request_id"]
        finally:
            errors.removeHandler(handler)
    (line,) = read(target.getvalue())
    assert told and line["request_id"] == told and line["logger"] == "annotator.api.errors"
    assert "RuntimeError: a" in line["exception"] and '{"level"' not in line["exception"].split("\n")
    assert REQUEST_ID.get() == ""


@pytest.mark.parametrize(
    ("wanted", "terminal", "json_wanted"),
    [
        ("auto", True, False),
        ("auto", False, True),
        ("text", False, False),
        ("text", True, False),
        ("json", True, True),
        ("json", False, True),
    ],
)
def test_auto_is_text_on_a_terminal_and_json_elsewhere(
    monkeypatch: pytest.MonkeyPatch, wanted: logs.LogFormat, terminal: bool, json_wanted: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with fresh_program() as said:
        monkeypatch.setattr(said, "isatty", lambda: terminal)
        logs.set_up()
        assert not logs.as_json(), "until the settings are read, people are spoken to"
        logs.write_as(wanted)
        assert logs.as_json() is json_wanted and len(logging.getLogger().handlers) == 1
        logging.getLogger("annotator.tests").warning("a\nb %s", "c" * 300)
        logs.write_as("text")
        assert not logs.as_json() and len(logging.getLogger().handlers) == 1
    if terminal and not json_wanted:
        assert "WARNING" in said.getvalue() and len(said.getvalue().splitlines()) > 1, "drawn for a screen"
    else:
        (line,) = said.getvalue().splitlines()
        assert "\\nb ccc" in line and "WARNING" in line and "annotator.tests" in line


def test_what_nobody_caught_and_warnings_go_the_same_way() -> None:
    def fail() -> None:
        raise RuntimeError(EVIL)

    with fresh_program() as said, warnings.catch_warnings():
        logs.set_up()
        logs.write_as("json")
        thread = threading.Thread(target=fail, name="import")
        thread.start()
        thread.join()
        warnings.simplefilter("always")
        warnings.warn(EVIL, UserWarning, stacklevel=1)
        with pytest.raises(RuntimeError) as failed:
            fail()
        sys.excepthook(RuntimeError, failed.value, failed.value.__traceback__)
    thrown, warned, ended = read(said.getvalue())
    assert "thread import" in thrown["message"] and "RuntimeError: a" in thrown["exception"]
    assert warned["logger"] == "py.warnings" and "UserWarning: a" in warned["message"]
    assert ended["level"] == "CRITICAL" and "RuntimeError: a" in ended["exception"]


def test_a_program_with_a_handler_of_its_own_keeps_it() -> None:
    theirs = logging.NullHandler()
    with fresh_program() as said:
        logging.getLogger().addHandler(theirs)
        before = sys.excepthook
        logs.set_up()
        logs.write_as("json")
        assert logging.getLogger().handlers == [theirs] and sys.excepthook is before
    assert said.getvalue() == ""


def ended(command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end without this machine's own settings."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ANNOTATOR_")}
    return subprocess.run(command, capture_output=True, text=True, env=clean | more, timeout=60, check=False)


@pytest.mark.parametrize("verb", [("run", "--port", "0"), ("worker",)], ids=["server", "worker"])
def test_server_and_worker_write_nothing_but_objects(
    verb: tuple[str, ...], migrated: Path, tmp_path: Path, claim: Claims
) -> None:
    shown = claim(
        "A-39",
        "Whatever a path is called, every line of the log of server and worker is one JSON object.",
        unit="paths",
    )
    names = [
        "x\r\nERROR forged\x1b[2J\x1b]0;t\x07",
        '"},{"level":"INFO"}\n',
        "\u202e\u2028\x85 täglich",
        "plain",
    ]
    chosen = names[: size(2, len(names))]
    for name in chosen:
        data_dir = tmp_path / name
        data_dir.mkdir()
        shutil.copyfile(migrated, data_dir / "annotator.db")
        with closing(sqlite_module().connect(str(data_dir / "annotator.db"))) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
            connection.commit()
        command = [sys.executable, "-m", "annotator", *verb, "--data-dir", str(data_dir)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANNOTATOR_")}
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=60, check=False
        )
        (line,) = read(done.stderr)
        assert done.returncode == 3 and line["level"] == "CRITICAL" and "newer than this" in line["message"]
        assert line["message"].isprintable() and "annotator.db" in line["message"]
        environment["ANNOTATOR_LOG_FORMAT"] = "text"
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=60, check=False
        )
        assert done.stderr.startswith("annotator: The database ") and done.stderr.count("\n") == 1
        assert "\x1b" not in done.stderr
    shown.done(len(chosen), process=verb[0])
