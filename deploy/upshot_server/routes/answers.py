"""How answers are written: JSON with exact integers, times in RFC 3339 with Z; Python to download."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from fastapi import Request, Response

from upshot_monitoring.reports.as_code import MEDIA_TYPE


def json_answer(content: Any, status: int = 200) -> Response:
    """A JSON answer. Content is builtins, datetimes and finite numbers (NaN would become null)."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def code_answer(lines: str, name: str) -> Response:
    """Lines of Python to download as ``name``."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    headers = {"Content-Disposition": f'attachment; filename="{safe}.py"', "X-Content-Type-Options": "nosniff"}
    return Response(lines, media_type=MEDIA_TYPE, headers=headers)


def address(request: Request) -> str:
    """Where this server was asked."""
    return f"{request.url.scheme}://{request.url.netloc}"
