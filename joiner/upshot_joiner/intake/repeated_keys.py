"""Finds a name that stands twice in an object: every JSON parser keeps one of the two silently, and not all the same one."""

from __future__ import annotations

import json
from typing import Any

from upshot_joiner.errors import Problem

MAX_CHECKED_BYTES = 16 * 1024
"""Only small bodies are looked at: the look costs more than decoding, and a webhook's body is small."""


class _Repeated(Exception):
    pass


def refuse_repeated_keys(body: bytes) -> None:
    """Raise a 400 :class:`Problem` when an object of a small JSON body, or of one of its lines, has a name twice.

    A body that is no JSON passes: whoever decodes it says what is wrong with it.
    """
    if len(body) > MAX_CHECKED_BYTES:
        return
    if not _parses(body):
        for line in body.split(b"\n"):
            _parses(line)


def _parses(text: bytes) -> bool:
    try:
        json.loads(text, object_pairs_hook=_once)
    except _Repeated:
        raise Problem(
            400, "duplicate_key", "An object of the body has a name twice.", [{"loc": "body", "code": "duplicate_key"}]
        ) from None
    except (ValueError, RecursionError):
        return False
    return True


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _Repeated
