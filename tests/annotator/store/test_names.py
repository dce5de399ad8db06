"""One form for every name (A-28)."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotator.errors import BadInput, DuplicateCategory, DuplicateProject
from annotator.records import Project
from annotator.store import Store, categories, projects
from annotator.store.names import MAX_NAME, tidy_name, twin_key

NOW = 1_790_000_000_000
NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    "name",
    [
        "",
        " \t\n",
        "a\0b",
        "a\nb",
        "a\x1b[31mb",
        "a\x85b",
        "zero\u200bwidth",
        "\ufeffmark",
        "soft\u00adhyphen",
        "\u202egpj.exe",
        "\u2066isolate\u2069",
        "left\u200emark",
        "line\u2028separator",
        "\ud800",
        "\u200d",
        "\u3164",
        "\u2800",
        "tag\U000e0041",
        "x" * (MAX_NAME + 1),
    ],
)
def test_what_cannot_be_seen_is_no_name(name: str) -> None:
    with pytest.raises(BadInput, match="name of a category"):
        tidy_name(name, "category")


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        (" dog\n", "dog"),
        (NFD, NFC),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("=1+1", "=1+1"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f468\u200d\U0001f469\u200d\U0001f467"),
    ],
)
def test_every_visible_text_is_a_name_in_one_form(name: str, stored: str) -> None:
    assert tidy_name(name, "category") == stored


@given(st.text(max_size=30))
def test_a_name_is_stable_and_its_twins_are_one(name: str) -> None:
    try:
        tidy = tidy_name(name, "category")
    except BadInput:
        return
    assert tidy_name(tidy, "category") == tidy == unicodedata.normalize("NFC", tidy)
    assert twin_key(tidy) == twin_key(unicodedata.normalize("NFD", tidy)) == twin_key(f" {tidy} ")
    assert twin_key(twin_key(tidy)) == twin_key(tidy)
    tidy.encode()


@pytest.mark.parametrize("twin", [NFC, NFD, "CAF\u00c9", f" {NFD} ", "ca\u200df\u00e9", "CAFE\u0301"])
def test_a_twin_of_a_category_or_a_project_is_a_duplicate(store: Store, project: Project, twin: str) -> None:
    store.write(lambda c: categories.add(c, project.id, NFC, now=NOW))
    store.write(lambda c: projects.create(c, NFC, now=NOW))
    with pytest.raises(DuplicateCategory, match=NFC):
        store.write(lambda c: categories.add(c, project.id, twin, now=NOW))
    with pytest.raises(DuplicateProject, match=NFC):
        store.write(lambda c: projects.create(c, twin, now=NOW))


def test_blanks_make_no_other_name(store: Store, project: Project) -> None:
    store.write(lambda c: categories.add(c, project.id, "traffic light", now=NOW))
    for twin in ("traffic  light", "Traffic\u00a0Light", "traffic\u3000light"):
        with pytest.raises(DuplicateCategory):
            store.write(lambda c, twin=twin: categories.add(c, project.id, twin, now=NOW))
