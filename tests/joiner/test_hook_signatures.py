"""The signature schemes of other systems' webhooks, against vectors that others published and HMACs made apart."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upshot_joiner.intake.webhooks.signatures import is_genuine
from upshot_joiner.intake.webhooks.source import Signature
from upshot_joiner.intake.webhooks.standard import new_secret

NOW = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)
AT = int(NOW.timestamp())
BODY = b'{"id": "evt_1"}'
KEY = "a-secret-of-32-characters-or-so!"


def scheme(name: str, **more: Any) -> Signature:
    read: Signature = pydantic.TypeAdapter(Signature).validate_python(
        {"scheme": name, **({} if name == "none" else {"secrets": [{"value": KEY}]}), **more}
    )
    return read


def mac(algorithm: str, *parts: bytes, key: bytes = KEY.encode()) -> bytes:
    made = hmac.new(key, digestmod=algorithm)
    for part in parts:
        made.update(part)
    return made.digest()


def stripe(body: bytes = BODY, at: object = AT, key: str = KEY) -> str:
    return f"t={at},v1={mac('sha256', str(at).encode(), b'.', body, key=key.encode()).hex()}"


SCHEMES: dict[str, tuple[Signature, str, str]] = {
    "stripe": (scheme("stripe"), "stripe-signature", stripe()),
    "github": (scheme("github"), "x-hub-signature-256", f"sha256={mac('sha256', BODY).hex()}"),
    "hmac hex": (scheme("hmac", header="X-Signature"), "x-signature", mac("sha256", BODY).hex()),
    "hmac base64": (
        scheme("hmac", header="X-Shop-Hmac", encoding="base64", algorithm="sha512", prefix="v=1;"),
        "x-shop-hmac",
        "v=1;" + base64.b64encode(mac("sha512", BODY)).decode(),
    ),
    "hmac sha1": (scheme("hmac", header="x-old", algorithm="sha1"), "x-old", mac("sha1", BODY).hex()),
    "header": (scheme("header", header="x-token"), "x-token", KEY),
    "bearer": (scheme("header", header="authorization", prefix="Bearer "), "authorization", f"Bearer {KEY}"),
}


def genuine(signature: Signature, name: str, values: Sequence[str], body: bytes = BODY, *keys: str) -> bool:
    return is_genuine(signature, keys or (KEY,), {name: values}, body, NOW)


def test_the_vector_that_github_publishes_is_genuine() -> None:
    """From "Validating webhook deliveries" in GitHub's documentation."""
    given_ = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    secret = "It's a Secret to Everybody"  # noqa: S105
    assert genuine(scheme("github"), "x-hub-signature-256", [given_], b"Hello, World!", secret)
    assert not genuine(scheme("github"), "x-hub-signature-256", [given_], b"Hello, World?", secret)


def test_the_vectors_of_rfc_4231_are_genuine() -> None:
    """Test case 2, for the three algorithms that it has."""
    for algorithm, tag in (
        ("sha256", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        ("sha384", "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649"),
        ("sha512", ("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
         "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737")),
    ):  # fmt: skip
        signature = scheme("hmac", header="x", algorithm=algorithm)
        assert genuine(signature, "x", [tag], b"what do ya want for nothing?", "Jefe")


@pytest.mark.parametrize("name", SCHEMES)
def test_a_delivery_is_genuine_by_any_live_secret_and_by_no_other(name: str) -> None:
    signature, header, value = SCHEMES[name]
    assert genuine(signature, header, [value])
    assert genuine(signature, header, [value], BODY, "the-new-secret", KEY)
    assert not genuine(signature, header, [value], BODY, "the-new-secret")
    assert not is_genuine(signature, [], {header: [value]}, BODY, NOW)
    for values in ([], [""], [value, value], [f" {value}"], [f"{value} "], ["\xff"], ["é" * 9]):
        assert not genuine(signature, header, values), values


@pytest.mark.parametrize("name", SCHEMES)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_flipped_bit_of_a_delivery_is_refused(name: str, data: st.DataObject) -> None:
    """In the header, in the secret, and in the body where the scheme signs it."""
    signature, header, value = SCHEMES[name]
    signs = name not in ("header", "bearer")
    where = data.draw(st.sampled_from(["header", "secret", *["body"] * signs]))
    flipped = bytearray({"header": value.encode(), "secret": KEY.encode(), "body": BODY}[where])
    bit = data.draw(st.integers(0, len(flipped) * 8 - 1).filter(lambda bit: where != "secret" or bit % 8 < 7))
    flipped[bit // 8] ^= 1 << bit % 8
    if where == "header":
        assert not genuine(signature, header, [flipped.decode("latin-1")])
    elif where == "secret":
        assert not genuine(signature, header, [value], BODY, flipped.decode("latin-1"))
    else:
        assert not genuine(signature, header, [value], bytes(flipped))


def test_a_stripe_timestamp_is_within_five_minutes_on_both_sides() -> None:
    """Stripe's own library looks at the past alone."""
    for offset, accepted in ((-301, False), (-300, True), (300, True), (301, False)):
        assert genuine(scheme("stripe"), "stripe-signature", [stripe(at=AT + offset)]) is accepted


@pytest.mark.parametrize(
    "header",
    [
        stripe(at="x"),
        stripe(at=f" {AT}"),
        stripe(at=f"{AT}.0"),
        stripe().split(",")[1],
        f"t={AT}," + stripe(),
        stripe() + ",",
        stripe() + ",v1",
        stripe().replace("v1=", "v0="),
        stripe().replace("v1=", "V1="),
        stripe().replace(",", ", "),
        stripe().upper(),
        f"t={AT}," + "v1=00," * 10_000 + stripe().split(",")[1],
        "",
    ],
    ids=lambda header: header[:60],
)
def test_a_malformed_stripe_signature_is_refused(header: str) -> None:
    assert not genuine(scheme("stripe"), "stripe-signature", [header])


def test_stripe_signs_with_the_old_and_the_new_secret_while_one_is_rotated() -> None:
    """Also with schemes that are not known here."""
    other = "v1=" + mac("sha256", b"x").hex()
    assert genuine(scheme("stripe"), "stripe-signature", [f"{stripe()},{other},v0=abc"])
    assert genuine(scheme("stripe"), "stripe-signature", [f"v0=abc,{other},{stripe()}"])


def test_standard_webhooks_are_a_scheme_too() -> None:
    secret = new_secret()
    signature = scheme("standard", secrets=[{"value": secret}])
    signed = mac("sha256", b"msg_1.", str(AT).encode(), b".", BODY, key=base64.b64decode(secret[6:]))
    headers = {
        "webhook-id": ["msg_1"],
        "webhook-timestamp": [str(AT)],
        "webhook-signature": ["v1," + base64.b64encode(signed).decode()],
    }
    assert is_genuine(signature, [secret], headers, BODY, NOW)
    assert not is_genuine(signature, [secret], headers, BODY + b" ", NOW)
    assert hashlib.sha256(BODY).digest() != signed


def test_what_is_unsigned_is_always_genuine() -> None:
    assert is_genuine(scheme("none"), [], {}, BODY, NOW)
