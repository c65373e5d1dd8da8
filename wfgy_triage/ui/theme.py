"""The look: a Gradio theme with one accent, and the style sheet of `assets/theme`."""

from __future__ import annotations

import gradio as gr
from gradio.themes.utils.fonts import LocalFont

from wfgy_triage.settings import REPO_ROOT

STYLE_SHEET = REPO_ROOT / "assets" / "theme" / "app.css"
FAVICON = REPO_ROOT / "assets" / "icons" / "favicon.svg"


# Gradio takes the 500 of this scale for its own marks (stepper, slider, focus); white text on it has 5.4:1.
ACCENT = gr.themes.Color(
    c50="#f0fdfa", c100="#ccfbf1", c200="#99f6e4", c300="#5eead4", c400="#2dd4bf", c500="#0f766e",
    c600="#0f766e", c700="#115e59", c800="#134e4a", c900="#133f3c", c950="#042f2e", name="accent",
)  # fmt: skip


def build_theme() -> gr.themes.Base:
    """Return the theme. Fonts are the complete ones that Gradio carries; no network is asked.

    Only the weights 400 and 700 of these fonts are complete in Gradio's package, so no other is declared.
    """
    return gr.themes.Base(
        primary_hue=ACCENT,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=[LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=[LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"],
    ).set(
        body_background_fill="#f6f8fa",
        body_background_fill_dark="#0d1216",
        body_text_color="#18232d",
        body_text_color_dark="#e8edf1",
        body_text_color_subdued="#4c5c6a",
        body_text_color_subdued_dark="#a3b1bd",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#151c22",
        block_background_fill="#ffffff",
        block_background_fill_dark="#151c22",
        block_border_color="#dbe3e9",
        block_border_color_dark="#27323b",
        border_color_primary="#dbe3e9",
        border_color_primary_dark="#27323b",
        input_background_fill="#ffffff",
        input_background_fill_dark="#0f151a",
        # Fields lie on a surface of their own colour: only the line says where one can write.
        input_border_width="1px",
        input_border_color="#7c8e9d",
        input_border_color_dark="#5a6b79",
        input_placeholder_color="#5b6b79",
        input_placeholder_color_dark="#93a3b0",
        button_primary_background_fill="#0f766e",
        button_primary_background_fill_dark="#0f766e",
        button_primary_background_fill_hover="#115e59",
        button_primary_background_fill_hover_dark="#0d8077",
        button_primary_border_color="#0f766e",
        button_primary_border_color_dark="#14857b",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_dark="#1b242b",
        button_secondary_background_fill_hover="#eef3f6",
        button_secondary_background_fill_hover_dark="#232e37",
        button_secondary_border_color="#b9c6d0",
        button_secondary_border_color_dark="#44545f",
        button_secondary_text_color="#18232d",
        button_secondary_text_color_dark="#e8edf1",
        slider_color="#0f766e",
        slider_color_dark="#2dd4bf",
        block_label_text_color="#18232d",
        block_label_text_color_dark="#e8edf1",
        block_title_text_weight="700",
        block_title_text_color="#18232d",
        block_title_text_color_dark="#e8edf1",
        block_info_text_color="#4c5c6a",
        block_info_text_color_dark="#a3b1bd",
        block_radius="12px",
        container_radius="12px",
    )
