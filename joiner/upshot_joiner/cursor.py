"""Where a page of a list ends, as a text that means nothing to the caller: it is handed back to get the next page."""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

import msgspec

from upshot_joiner.errors import Problem

T = TypeVar("T")


def write(place: msgspec.Struct) -> str:
    """The cursor of a place."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).decode().rstrip("=")


def read(cursor: str, kind: type[T]) -> T | None:
    """The place of a cursor, None of an empty one; raises a 422 :class:`Problem` for what :func:`write` never wrote."""
    if not cursor:
        return None
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.msgpack.decode(packed, type=kind)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise Problem(
            422, "invalid_cursor", "A cursor is the one of an earlier answer.", [{"loc": "cursor", "code": "invalid"}]
        ) from None
