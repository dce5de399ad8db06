"""The list of generations on the Learn tab and the question before a switch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import gradio as gr
import pytest

from annotator.actions import Actions
from annotator.records import Generation, GenerationStatus, Image, Project
from annotator.store import Store, categories, now_ms
from annotator.ui.door import Door, Here
from annotator.ui.generations import (
    GenerationsPanel,
    choices,
    generations_html,
    question,
    rejected_html,
    use,
)
from annotator.ui.learn_tab import LearnTab, learn_page
from tests.annotator.generation_builder import Built, build, decide
from tests.annotator.ui.asking import sent_by


@pytest.fixture
def built(store: Store, project: Project, add_images: Callable[..., list[Image]]) -> list[Built]:
    pictures = add_images(project, 6)
    made = store.write(lambda c: categories.add(c, project.id, "cat", now=now_ms()))
    decide(store, project, [(pictures[0].id, made.id, 1)])
    return [build(store, project, seed=1), build(store, project, seed=2)]


def one(number: int, status: GenerationStatus, **metrics: object) -> Generation:
    return Generation(
        id=number,
        project_id=1,
        snapshot_id=1,
        up_to_seq=9,
        backbone="tiny",
        folder="x",
        manifest_sha256="0" * 64,
        metrics=dict(metrics),
        status=status,
        created_at=1_790_000_000_000,
    )


COMPARED = {"generation": 1, "map": 0.5, "current_map": 0.7, "error": 0.01, "cells": 120, "rejected": True}
KNOWN = [
    one(3, GenerationStatus.REJECTED, map=0.55, compared=COMPARED),
    one(2, GenerationStatus.CURRENT, map=0.7),
    one(1, GenerationStatus.REMOVED),
]


def test_the_table_says_of_each_what_became_of_it_and_how_it_compared() -> None:
    shown = generations_html(KNOWN)
    assert "rejected" in shown and "in use" in shown and "files removed" in shown
    assert "50.0 % against 70.0 % on 120 answers" in shown
    assert generations_html([]) == ""


def test_a_rejected_newest_one_is_told_in_a_sentence_and_an_accepted_one_is_not() -> None:
    assert "Generation 3 is worse than generation 2 and is not used" in rejected_html(KNOWN)
    assert "use it anyway" in rejected_html(KNOWN)
    assert rejected_html(KNOWN[1:]) == "" and rejected_html([]) == ""
    by_hand = [replace(KNOWN[0], metrics={}), KNOWN[1]]
    assert "Generation 3 was put back in favour of generation 2" in rejected_html(by_hand)


def test_only_kept_ones_that_are_not_in_use_can_be_chosen() -> None:
    assert [number for _, number in choices(KNOWN)] == [3]


def test_nothing_changes_before_the_question_is_answered(
    actions: Actions, door: Door, owner: int, project: Project, built: list[Built]
) -> None:
    panel = GenerationsPanel.__new__(GenerationsPanel)  # what its events do, without a page around it
    panel._door = door
    text, row = panel.on_ask(built[0].record.id)
    assert f"Use generation {built[0].record.id}?" in text and isinstance(row, gr.Row) and row.visible
    assert "Choose a generation first" in question(None)
    text, row = panel.on_no()
    assert text == "" and isinstance(row, gr.Row) and not row.visible
    assert actions.generations(project.id)[0].status is GenerationStatus.CURRENT
    text, row = panel.on_yes(sent_by(owner), project.id, built[0].record.id)
    assert f"come from generation {built[0].record.id} now" in text
    assert isinstance(row, gr.Row) and not row.visible
    assert actions.status(project.id).generation is not None
    assert actions.status(project.id).generation.id == built[0].record.id  # type: ignore[union-attr]


def test_a_refusal_is_one_sentence(door: Door, here: Here, built: list[Built]) -> None:
    assert "Choose a generation first" in use(lambda: here, None)
    assert "Not done." in use(lambda: here, built[1].record.id)


def test_the_tab_shows_the_list_and_a_damage_banner(here: Here, built: list[Built], store: Store) -> None:
    page = learn_page(lambda: here, store.data_dir)
    assert f"<td>{built[0].record.id}</td>" in page.generations and page.status.count("damaged") == 0
    assert [number for _, number in page.others] == [built[0].record.id]
    (built[1].folder / "logits.npy").unlink()
    from annotator.settings import Settings

    fresh = Actions(store, Settings(data_dir=store.data_dir, backbone="tiny"))
    page = learn_page(lambda: replace(here, actions=fresh), store.data_dir)
    assert "A generation is damaged." in page.status
    assert f"come from generation {built[0].record.id} until the next training" in page.status


def test_what_did_not_change_is_not_sent_again(
    door: Door, owner: int, project: Project, built: list[Built], store: Store
) -> None:
    tab = LearnTab.__new__(LearnTab)
    tab._door, tab._data_dir = door, store.data_dir
    first = tab.on_show(sent_by(owner), project.id)
    again = tab.on_tick(sent_by(owner), project.id, first[0])  # type: ignore[arg-type]
    assert len(again) == len(first) - 1 and all(value == gr.skip() for value in again)
