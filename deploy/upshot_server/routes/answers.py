"""How answers are written: JSON with exact integers, times in RFC 3339 with Z."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import Response


def json_answer(content: Any, status: int = 200) -> Response:
    """A JSON answer. Content is builtins, datetimes and finite numbers (NaN would become null)."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")
