"""The strict verifier of Standard Webhooks (https://www.standardwebhooks.com): pure functions, one answer for every fault.

What is signed is ``<webhook-id>.<webhook-timestamp>.<body>``, with HMAC-SHA256 under a secret of 24 to 64 random bytes, which is
written as ``whsec_`` and their base64. The header holds one or more signatures (``v1,<base64>``), and several secrets may be live:
that is how secrets are rotated without losing a delivery.

Stricter than the specification's own libraries where laxness has let forgeries through: each header exactly once, the timestamp
digits only, the window on both sides, the base64 in its only canonical spelling, nothing malformed beside a good signature.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets as random
from collections.abc import Mapping, Sequence
from datetime import datetime

from upshot_joiner.clock import to_micros

Headers = Mapping[str, Sequence[str]]
"""Header names in lower case, each with its values in the order they came, as ISO 8859-1 (what HTTP carries)."""

ID, TIMESTAMP, SIGNATURE = HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
SECRET_PREFIX = "whsec_"  # noqa: S105  # the prefix, not a secret
TOLERANCE_S = 300
"""How far a timestamp may be from now, before or after: the specification's libraries all use five minutes."""
MAX_SIGNATURES = 16
"""A sender that rotates signs twice or thrice; more is somebody who wants hashes computed."""

_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,256}")  # no full stop: it separates what is signed
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_V1 = re.compile(r"v1,([A-Za-z0-9+/]{43}=)")
_OTHER_VERSION = re.compile(r"v(?!1,)[0-9][0-9a-z]{0,7},[A-Za-z0-9+/=_-]{1,512}")


def verified_id(secrets: Sequence[bytes], headers: Headers, body: bytes, now: datetime) -> str | None:
    """The ID of a delivery that one of the secrets has signed; None for every other, whatever is wrong with it."""
    id_, timestamp, given = (_only(headers, name) for name in HEADERS)
    if id_ is None or not _ID.fullmatch(id_) or timestamp is None or not is_recent(timestamp, now) or given is None:
        return None
    signatures = _signatures(given)
    if not signatures:
        return None
    signed = b"%b.%b.%b" % (id_.encode("ascii"), timestamp.encode("ascii"), body)
    found = False
    for secret in secrets:
        expected = signature(secret, signed)
        for one in signatures:
            # Texts are compared, not what they decode to: base64 has several spellings for the same bytes.
            found |= hmac.compare_digest(expected, one)
    return id_ if found else None


def is_signed(headers: Headers) -> bool:
    """Whether a request means to be signed: it has one of the headers."""
    return any(headers.get(name) for name in HEADERS)


def is_recent(timestamp: str, now: datetime) -> bool:
    """Whether a timestamp (digits: seconds since 1970) is within the tolerance of now."""
    if not _TIMESTAMP.fullmatch(timestamp):
        return False
    return abs(to_micros(now) - int(timestamp) * 1_000_000) <= TOLERANCE_S * 1_000_000


def signature(secret: bytes, signed: bytes) -> bytes:
    """The base64 of the HMAC-SHA256 of what is signed."""
    return base64.b64encode(hmac.digest(secret, signed, "sha256"))


def read_secret(text: str) -> bytes:
    """The bytes of a ``whsec_`` secret; raises ValueError when it is none. The message does not hold it."""
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not 24 <= len(secret) <= 64 or text != SECRET_PREFIX + base64.b64encode(secret).decode():
        raise ValueError("a secret is `whsec_` and the base64 of 24 to 64 random bytes")
    return secret


def new_secret() -> str:
    """A secret made now."""
    return SECRET_PREFIX + base64.b64encode(random.token_bytes(32)).decode()


def _only(headers: Headers, name: str) -> str | None:
    values = headers.get(name, ())
    return values[0] if len(values) == 1 else None


def _signatures(header: str) -> list[bytes]:
    """The ``v1`` signatures of a header; none when there are too many, or anything in it is no signature."""
    entries = header.split(" ", MAX_SIGNATURES)
    if len(entries) > MAX_SIGNATURES:
        return []
    found = []
    for entry in entries:
        if match := _V1.fullmatch(entry):
            found.append(match[1].encode("ascii"))
        elif not _OTHER_VERSION.fullmatch(entry):
            return []
    return found
