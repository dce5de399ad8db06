"""Gradio theme that agrees with `assets/annotate.css`; system fonts only, so that nothing is downloaded."""

from __future__ import annotations

import gradio as gr
from gradio.themes.utils.fonts import Font

_TEXT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
_MONO = ("ui-monospace", "Menlo", "Consolas", "monospace")


def page_theme() -> gr.themes.Base:
    """Calm greys with one blue."""
    theme = gr.themes.Base(
        primary_hue="blue",
        secondary_hue="slate",
        neutral_hue="slate",
        text_size="sm",
        spacing_size="sm",
        radius_size="sm",
        font=[Font(name) for name in _TEXT],
        font_mono=[Font(name) for name in _MONO],
    )
    return theme.set(
        body_background_fill="#f6f8fa",
        body_background_fill_dark="#10151b",
        body_text_color="#1b2430",
        body_text_color_dark="#e6eaf0",
        body_text_color_subdued="#55606e",
        body_text_color_subdued_dark="#9aa6b4",
        block_background_fill="#ffffff",
        block_background_fill_dark="#171c23",
        border_color_primary="#d8dee6",
        border_color_primary_dark="#2c3440",
        button_primary_background_fill="#1f5f9e",
        button_primary_background_fill_hover="#184c7f",
        button_primary_background_fill_dark="#2f74b8",
        button_primary_background_fill_hover_dark="#3a86d1",
        input_background_fill_dark="#1f262f",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        block_shadow="none",
        button_large_padding="6px 14px",
        button_large_text_size="13px",
        button_large_text_weight="600",
    )
