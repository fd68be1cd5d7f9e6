"""The pages as HTML: shells with landmarks, headings and table heads, which the modules in `static/` fill.

Nothing here knows a web framework: each function takes what the address says and returns the page.
"""

import json
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from upshot import __version__
from upshot_monitoring.dashboard.assets import PLOTLY, STATIC_DIR, address, modules, plotly_path

__all__ = [
    "SECURITY_HEADERS",
    "STATIC_DIR",
    "plotly_path",
    "render_index",
    "render_intake",
    "render_model",
    "render_not_found",
    "render_request",
    "render_writers",
]

TEMPLATES_DIR = Path(__file__).parent / "templates"

SECURITY_HEADERS: dict[str, str] = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self' 'unsafe-inline'",  # plotly.js sets inline styles on its SVG
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "font-src 'self'",
            "frame-src 'self'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'self'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # request IDs stand in addresses
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES_DIR),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _render(template: str, **context: str) -> str:
    return (
        _environment()
        .get_template(template)
        .render(version=__version__, asset=address, modules=modules(), plotly=address(PLOTLY), **context)
    )


def render_index() -> str:
    """The list of models; with the first steps where there is none yet."""
    return _render("index.html")


# The modules get names as JSON, because HTML does not keep every letter of an attribute (NUL, carriage return).
def render_model(model: str) -> str:
    """One model's page. `model` is any string; whether it is known is for the API to say."""
    return _render("model.html", model=model, model_json=json.dumps(model))


def render_request(request_id: str) -> str:
    """One request's story. `request_id` is any string; whether it is known is for the API to say."""
    return _render("request.html", request_id=request_id, request_json=json.dumps(request_id))


def render_writers() -> str:
    """The writers, and what became of the events they numbered."""
    return _render("writers.html")


def render_intake() -> str:
    """How far the server is behind, what waits for its prediction, and what was refused."""
    return _render("intake.html")


def render_not_found() -> str:
    """What a person sees at an address that leads nowhere."""
    return _render("not_found.html")
