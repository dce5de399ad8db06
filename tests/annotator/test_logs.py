"""One line per event, no terminal control, no secret (A-39); as JSON: `test_logs_json.py`."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest

from annotator.logs import HIDDEN, Tidy, tidy
from tests.annotator.fresh_program import fresh_program

SECRET = "Zx9-Very_Secret-0123456789abcdef"


@pytest.fixture
def written() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    target = io.StringIO()
    handler = logging.StreamHandler(target)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handler.addFilter(Tidy())
    log = logging.getLogger("tests.logs")
    log.addHandler(handler)
    log.propagate = False
    yield log, target
    log.removeHandler(handler)
    log.propagate = True


@pytest.mark.parametrize(
    "text",
    [
        "a\r\nERROR forged",
        "a\x1b[2Jb",
        "a\x9bb",
        "a\0b",
        "a\u202eb",
        "a\u2028b",
        "a\x85b",
        "\ud800",
        "a\x08b",
    ],
)
def test_a_text_from_outside_stays_on_one_line_and_steers_nothing(
    written: tuple[logging.Logger, io.StringIO], text: str
) -> None:
    log, target = written
    log.error("no picture %s", text)
    (line,) = target.getvalue().splitlines()
    assert line.startswith("ERROR no picture ")
    assert line.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        f"GET /img/1?token={SECRET}&size=full",
        f"cookie: annotator_session={SECRET}; other=1",
        f"Authorization: Bearer {SECRET}",
        f"authorization: bearer   {SECRET}",
        f'{{"password": "{SECRET}"}}',
        f"secret={SECRET}",
        f"POST /invite/{SECRET}",
        f"annotator_{SECRET} is not known",
        f"API-Key: {SECRET}",
    ],
)
def test_secrets_are_hidden_wherever_they_stand(text: str) -> None:
    assert SECRET not in tidy(text)
    assert HIDDEN in tidy(text)


def test_plain_sentences_stay_as_they_are() -> None:
    for text in ("The worker ended (exit 3); starting it again in 5 s.", "Größe 3 × 4, Καλημέρα, 画像", ""):
        assert tidy(text) == text


def test_a_traceback_cannot_forge_an_event(written: tuple[logging.Logger, io.StringIO]) -> None:
    log, target = written
    try:
        raise RuntimeError(f"broken\nERROR forged by a file name\x1b[31m password={SECRET}")
    except RuntimeError:
        log.error("request %s failed", "abc", exc_info=sys.exc_info())
    first, *rest = target.getvalue().splitlines()
    assert first == "ERROR request abc failed"
    assert all(line.startswith("    | ") and line.isprintable() for line in rest)
    assert any("RuntimeError: broken" in line for line in rest)
    assert SECRET not in target.getvalue()


@pytest.mark.parametrize("text", ["a" * 4_000_000, "\n" * 4_000_000, f"password={SECRET} " * 100_000])
def test_of_megabytes_that_somebody_sent_the_log_keeps_little(
    written: tuple[logging.Logger, io.StringIO], text: str
) -> None:
    log, target = written
    try:
        raise RuntimeError(f"first {text} last")
    except RuntimeError as error:
        log.error("failed: %s", error, exc_info=True)
    told = target.getvalue()
    assert len(told) < 400_000 and "first" in told and told.rstrip().endswith(" last")
    assert "signs left out" in told and SECRET not in told


@pytest.mark.parametrize("shift", range(0, 80, 3))
def test_where_a_long_text_is_cut_no_half_secret_is_left(
    written: tuple[logging.Logger, io.StringIO], shift: int
) -> None:
    log, target = written
    log.error("%s", "x" * shift + f" token={SECRET}" * 4000)
    told = target.getvalue()
    assert "signs left out" in told
    assert not any(SECRET[place : place + 4] in told for place in range(len(SECRET) - 4))


def test_a_record_that_does_not_fit_its_values_is_still_written(
    written: tuple[logging.Logger, io.StringIO],
) -> None:
    log, target = written
    log.error("%d pictures", "many")
    assert "could not be written" in target.getvalue()


def test_the_program_puts_it_on_its_one_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    from annotator import cli

    monkeypatch.setattr(cli, "app", lambda: None)
    monkeypatch.setattr("os.umask", lambda mode: mode)
    with fresh_program():
        cli.main()
        (made,) = logging.getLogger().handlers
        assert any(isinstance(one, Tidy) for one in made.filters)
