"""Events of the page as Gradio hands them on, sent by somebody."""

from __future__ import annotations

import gradio as gr
from starlette.requests import Request


def sent_by(user_id: object) -> gr.Request:
    """The request of an event whose sender the guard knows as `user_id`; None: it knows nobody."""
    state = {} if user_id is None else {"user_id": user_id, "by_token": False}
    scope = {"type": "http", "method": "POST", "path": "/gradio_api/run/predict", "headers": []}
    return gr.Request(request=Request(scope | {"state": state}), session_hash="abc")
