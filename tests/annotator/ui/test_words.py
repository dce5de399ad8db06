"""Records become HTML that people read and that nobody can smuggle markup into."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from annotator.errors import BadFile, BadInput
from annotator.records import ImportReport, RefusedFile
from annotator.ui import words


@given(st.text(max_size=60))
def test_no_text_from_outside_becomes_markup(text: str) -> None:
    plain = set("&lt;&gt;&amp;&quot;&#x27;")
    for html in (words.sentence(text), words.facts([(text, text)]), words.trouble(BadInput(text))):
        inside = html
        for ours in (
            "<p>",
            "</p>",
            "<tr>",
            "</tr>",
            "<td>",
            "</td>",
            "<table>",
            "</table>",
            "<tbody>",
            "</tbody>",
        ):
            inside = inside.replace(ours, "")
        for ours in ("<th scope='row'>", "</th>", '<div class="facts">', "</div>", "<b>Not done.</b>"):
            inside = inside.replace(ours, "")
        inside = inside.replace('<div class="trouble" role="alert">', "")
        assert "<" not in inside and ">" not in inside
    assert plain


def test_trouble_says_the_sentence_of_the_error() -> None:
    assert "a&lt;b.jpg: the file is empty" in words.trouble(BadFile("a<b.jpg", "the file is empty"))


def test_numbers_have_their_words() -> None:
    assert words.number(1, "picture") == "1 picture"
    assert words.number(1200, "picture") == "1,200 pictures"
    assert words.number(2, "category", "categories") == "2 categories"


def test_a_percentage_is_a_dash_where_nothing_was_measured() -> None:
    assert words.percent(0.6123) == "61.2 %"
    assert [words.percent(value) for value in (None, float("nan"), True, "0.5")] == ["–"] * 4


def test_an_import_report_names_everything_that_happened() -> None:
    report = ImportReport(
        added=3,
        duplicates=1,
        refused=(RefusedFile(name="x.txt", reason="not a picture"),),
        cells=1200,
        notes=("hm",),
    )
    html = words.import_report(report)
    for part in ("Pictures added", ">3<", "Already there", "1 file, listed below", "1,200", "<p>hm</p>"):
        assert part in html
    assert words.refused_rows(report) == (("x.txt", "not a picture"),)


def test_bad_rows_of_labels_are_called_rows_and_their_place_is_said_once() -> None:
    report = ImportReport(
        refused=(RefusedFile(name="a.csv, line 7", reason="line 7: what is maybe?"),), cells=2
    )
    html = words.import_report(report, of="row")
    assert "1 row, listed below" in html
    assert "Pictures" not in html and "file" not in html
    assert words.refused_rows(report) == (("a.csv, line 7", "what is maybe?"),)


def test_a_report_of_nothing_says_so() -> None:
    assert words.import_report(ImportReport()) == "<p>Nothing new was found.</p>"


def test_many_notes_are_folded_away_and_none_is_lost() -> None:
    notes = tuple(f"note {number}" for number in range(30))
    html = words.import_report(ImportReport(added=1, notes=notes))
    assert "<summary>30 notes</summary>" in html
    assert all(f"<li>{note}</li>" in html for note in notes)
