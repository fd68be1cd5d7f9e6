"""How far each named pull has read the database it reads: a note that any machine can go on from.

The server does not read the database itself; it keeps what the puller says. A note that is too old costs a repetition, which is
harmless, so two pullers of one name do not have to agree.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from upshot_joiner.clock import Stamper
from upshot_joiner.errors import Problem
from upshot_joiner.store.client import Store
from upshot_joiner.store.rows import TIME

MAX_NAME = 256
MAX_VALUE = 4096
KINDS = ("datetime", "date", "int", "float", "text")


class Pulls:
    """The notes of all pulls. Every method may be called from any thread."""

    def __init__(self, store: Store, stamper: Stamper) -> None:
        self._store = store
        self._stamper = stamper

    def all(self) -> list[dict[str, Any]]:
        """Every pull with its note, by name."""
        rows = self._store.query("SELECT name, watermark, noted_at FROM pulls FINAL ORDER BY name")
        return [_shown(*row) for row in rows]

    def one(self, name: str) -> dict[str, Any]:
        """The note of one pull; raises a 404 :class:`Problem` when there is none."""
        rows = self._store.query(
            "SELECT name, watermark, noted_at FROM pulls FINAL WHERE name = {name:String}", {"name": name}
        )
        if not rows:
            raise Problem(404, "unknown_pull", "No pull of this name has noted how far it is.")
        return _shown(*rows[0])

    def note(self, name: str, content: object) -> dict[str, Any]:
        """Replace the note of a pull with ``{"watermark": {"kind", "value"}}``; raises a 422 :class:`Problem`."""
        watermark = content.get("watermark") if isinstance(content, dict) else None
        kind, value = (watermark.get("kind"), watermark.get("value")) if isinstance(watermark, dict) else (None, None)
        if not name or len(name) > MAX_NAME:
            raise Problem(422, "invalid_request", f"A pull's name has 1 to {MAX_NAME} characters.")
        if kind not in KINDS or not isinstance(value, str) or len(value) > MAX_VALUE:
            raise Problem(
                422,
                "invalid_request",
                "A note is a watermark with its kind and, as text, its value.",
                [{"loc": "watermark", "code": "invalid"}],
            )
        text = json.dumps({"kind": kind, "value": value}, ensure_ascii=False)
        noted_at = self._stamper.next()
        self._store.insert(
            "pulls", pa.table({"name": [name], "watermark": [text], "noted_at": pa.array([noted_at], TIME)})
        )
        return _shown(name, text, noted_at)


def _shown(name: str, watermark: str, noted_at: object) -> dict[str, Any]:
    return {"name": name, "watermark": json.loads(watermark), "noted_at": noted_at}
