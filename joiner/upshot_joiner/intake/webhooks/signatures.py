"""How senders sign: one pure function per scheme, each true or false, never why."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import datetime

from upshot_joiner.intake.webhooks import standard
from upshot_joiner.intake.webhooks.source import GitHub, Hmac, SharedSecret, Signature, StandardWebhooks, Stripe
from upshot_joiner.intake.webhooks.standard import MAX_SIGNATURES, Headers, is_recent

_STRIPE_PART = re.compile(r"([a-z][a-z0-9]{0,9})=([\x21-\x2b\x2d-\x7e]{1,512})")


def is_genuine(signature: Signature, secrets: Sequence[str], headers: Headers, body: bytes, now: datetime) -> bool:
    """Whether a delivery is signed as configured, by one of the secrets. Always true where nothing is signed."""
    if isinstance(signature, StandardWebhooks):
        return standard.verified_id([standard.read_secret(one) for one in secrets], headers, body, now) is not None
    keys = [one.encode() for one in secrets]
    if isinstance(signature, Stripe):
        return _stripe(keys, headers, body, now)
    if isinstance(signature, GitHub):
        return _hmac(keys, _only(headers, "x-hub-signature-256"), body, "sha256", "hex", "sha256=")
    if isinstance(signature, Hmac):
        given = _only(headers, signature.header)
        return _hmac(keys, given, body, signature.algorithm, signature.encoding, signature.prefix)
    if isinstance(signature, SharedSecret):
        return _shared(keys, headers, signature)
    return True


def _stripe(keys: Sequence[bytes], headers: Headers, body: bytes, now: datetime) -> bool:
    """``t=<seconds>,v1=<hex>``, several ``v1`` while a secret is rotated; signed is ``<t>.<body>``. Both sides of the window."""
    header = _only(headers, "stripe-signature")
    parts = [_STRIPE_PART.fullmatch(part) for part in header.decode("latin-1").split(",", MAX_SIGNATURES)]
    if len(parts) > MAX_SIGNATURES:
        return False
    times: list[str] = []
    given: list[bytes] = []
    for part in parts:
        if part is None:
            return False
        if part[1] == "t":
            times.append(part[2])
        elif part[1] == "v1":
            given.append(part[2].encode("ascii"))
    if len(times) != 1 or not is_recent(times[0], now):
        return False
    signed = times[0].encode("ascii") + b"." + body
    found = False
    for key in keys:
        expected = hmac.digest(key, signed, "sha256").hex().encode("ascii")
        for one in given:
            found |= hmac.compare_digest(expected, one)
    return found


def _hmac(keys: Sequence[bytes], given: bytes, body: bytes, algorithm: str, encoding: str, prefix: str) -> bool:
    """The text of the header is compared as a whole, prefix and all: one spelling is right."""
    found = False
    for key in keys:
        digest = hmac.digest(key, body, algorithm)
        text = digest.hex().encode("ascii") if encoding == "hex" else base64.b64encode(digest)
        found |= hmac.compare_digest(prefix.encode() + text, given)
    return found


def _shared(keys: Sequence[bytes], headers: Headers, signature: SharedSecret) -> bool:
    # Hashed first, so that neither the time nor the length of the comparison tells anything of the secret.
    given = hashlib.sha256(_only(headers, signature.header)).digest()
    found = False
    for key in keys:
        found |= hmac.compare_digest(hashlib.sha256(signature.prefix.encode() + key).digest(), given)
    return found


def _only(headers: Headers, name: str) -> bytes:
    """The value of a header that is there once; else nothing, which is no signature."""
    values = headers.get(name, ())
    return values[0].encode("latin-1", "replace") if len(values) == 1 else b""
