"""Encodings are told apart in words, to the byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from annotator.errors import BadFile
from annotator.importing import texts
from annotator.importing.texts import check_text, open_text

HEADER = "file_name,dog\n"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf \r\n", "the file is empty"),
        (HEADER.encode("utf-16"), "it is written in UTF-16, save it as UTF-8"),
        (HEADER.encode("utf-16-le"), "it looks like UTF-16 without a mark, save it as UTF-8"),
        (HEADER.encode("utf-32"), "it is written in UTF-32"),
        ("file_name,café\n".encode("latin-1"), r"it is not UTF-8 text \(byte 14\); it may be Latin-1"),
        (b"x" * (2**20 - 1) + "é".encode() + b"\xff", r"not UTF-8 text \(byte 1048578\)"),
        (b"x" * (2**20 - 1) + b"\xc3", r"not UTF-8 text \(byte 1048576\)"),
        (b"ab\xc3", r"not UTF-8 text \(byte 3\)"),
        (b"PK\x03\x04...", "it is a ZIP archive or a spreadsheet"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "it is a picture, a document or an archive, not CSV or JSON"),
        (b"%PDF-1.7\n", "it is a picture, a document or an archive, not CSV or JSON"),
    ],
)
def test_what_is_no_utf8_is_said(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(BadFile, match=reason):
        check_text(tmp_path / "a.csv")


def test_a_good_file_gives_its_digest_and_first_character(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for text, first in (("\ufeff\n {x", "{"), (HEADER, "f"), ("x" * (2**20 - 1) + "é", "x")):
        path.write_text(text, encoding="utf-8")
        assert check_text(path) == (hashlib.sha256(path.read_bytes()).hexdigest(), first)
        with open_text(path) as file:
            assert file.read() == text.removeprefix("\ufeff")


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MAX_LABEL_BYTES", 10)
    (tmp_path / "a.csv").write_text(HEADER)
    with pytest.raises(BadFile, match="more than 10 bytes"):
        check_text(tmp_path / "a.csv")


def test_a_file_that_changes_between_check_and_reading_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xff")
    with pytest.raises(BadFile, match="it changed while it was read"), open_text(tmp_path / "a.csv") as file:
        file.read()
