"""The strict verifier of Standard Webhooks, and who may send labels."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upshot_joiner.clock import FixedClock
from upshot_joiner.errors import Problem
from upshot_joiner.intake.webhooks import standard
from upshot_joiner.intake.webhooks.access import LabelAccess, hash_of, new_key

NOW = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)
SECRET = b"\x01\x02\xfe0123456789abcdefghijklmnop"
BODY = b'{"request_id": "r", "value": 1}'


def signed(
    body: bytes = BODY, secret: bytes = SECRET, id_: str = "msg_1", at: object = int(NOW.timestamp())
) -> dict[str, list[str]]:
    """Headers as a sender makes them, by hmac's other interface than the verifier uses."""
    mac = hmac.new(secret, f"{id_}.{at}.".encode("latin-1"), hashlib.sha256)
    mac.update(body)
    return {
        "webhook-id": [id_],
        "webhook-timestamp": [str(at)],
        "webhook-signature": ["v1," + base64.b64encode(mac.digest()).decode()],
    }


def verified(headers: Mapping[str, Sequence[str]], body: bytes = BODY, *secrets: bytes) -> str | None:
    return standard.verified_id(secrets or (SECRET,), headers, body, NOW)


def test_the_vector_of_the_specification_is_verified() -> None:
    """The example that the libraries of Standard Webhooks are tested with."""
    headers = {
        "webhook-id": ["msg_p5jXN8AQM9LWM0D4loKWxJek"],
        "webhook-timestamp": ["1614265330"],
        "webhook-signature": ["v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="],
    }
    secret = standard.read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    then = datetime.fromtimestamp(1614265330, UTC)
    body = b'{"test": 2432232314}'
    assert standard.verified_id([secret], headers, body, then) == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert standard.verified_id([secret], headers, body, NOW) is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300), st.binary(min_size=24, max_size=64), st.data())
def test_any_flipped_bit_is_refused(body: bytes, secret: bytes, data: st.DataObject) -> None:
    """In the body, in the secret, or in the value of any of the three headers."""
    headers = signed(body, secret)
    assert verified(headers, body, secret) == "msg_1"
    where = data.draw(st.sampled_from(["body", "secret", *standard.HEADERS]))
    original = {"body": body, "secret": secret}.get(where) or (headers[where][0].encode() if where in headers else b"")
    if not original:
        return
    bit = data.draw(st.integers(0, len(original) * 8 - 1))
    flipped = bytearray(original)
    flipped[bit // 8] ^= 1 << bit % 8
    if where in headers:
        headers[where] = [flipped.decode("latin-1")]
        assert verified(headers, body, secret) is None
    else:
        given_ = {"body": body, "secret": secret, where: bytes(flipped)}
        assert verified(headers, given_["body"], given_["secret"]) is None


@pytest.mark.parametrize("name", standard.HEADERS)
@pytest.mark.parametrize("change", ["missing", "empty", "duplicated"])
def test_each_header_is_there_once(name: str, change: str) -> None:
    headers = signed()
    headers[name] = {"missing": [], "empty": [""], "duplicated": headers[name] * 2}[change]
    assert verified(headers) is None


GOOD = signed()["webhook-signature"][0]


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("v1,", "v0,"),
        GOOD.replace("v1,", "v1"),
        GOOD.replace("v1,", "v1,,"),
        GOOD.replace("v1,", "V1,"),
        GOOD.removeprefix("v1,"),
        GOOD.rstrip("="),
        GOOD + "=",
        GOOD[:-1] + "\n",
        GOOD[:20] + "*" + GOOD[21:],
        GOOD[:20] + " " + GOOD[20:],
        f"{GOOD}  {GOOD}",
        f" {GOOD}",
        f"{GOOD} ",
        f"{GOOD},{GOOD}",
        f"{GOOD} nonsense",
        "v1,",
        "v1,é",
        "\xff" * 50,
        " ".join([GOOD] * 17),
        " ".join([GOOD] * 10_000),
    ],
    ids=lambda text: text[:60],
)
def test_a_malformed_signature_is_refused_even_beside_a_good_one(text: str) -> None:
    """Also the good signature seventeen times; and none of it takes five milliseconds."""
    headers = signed() | {"webhook-signature": [text]}
    started = time.perf_counter()
    assert verified(headers) is None
    assert (
        time.perf_counter() - started < 0.5
    )  # a bound for a machine that does other things; the benchmark has the figure


def test_no_hash_is_computed_for_too_many_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 16 are refused before anything is hashed; 16 are looked at."""

    def hashed(*_: object) -> bytes:
        raise AssertionError("hashed")

    monkeypatch.setattr(standard, "signature", hashed)
    assert verified(signed() | {"webhook-signature": [" ".join([GOOD] * 17)]}) is None
    with pytest.raises(AssertionError, match="hashed"):
        verified(signed() | {"webhook-signature": [" ".join([GOOD] * 16)]})


def test_the_good_one_of_several_signatures_counts_wherever_it_stands() -> None:
    other = "v1," + base64.b64encode(b"\0" * 32).decode()
    asymmetric = "v1a," + base64.b64encode(b"\1" * 64).decode()
    for text in (f"{GOOD} {other}", f"{other} {GOOD}", f"{asymmetric} {other} {GOOD}", " ".join([other] * 15 + [GOOD])):
        assert verified(signed() | {"webhook-signature": [text]}) == "msg_1"


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "",
        "1e9",
        "nan",
        "inf",
        "1795867200.9",
        " 1795867200 ",
        "1_795_867_200",
        "-1",
        "+1795867200",
        "٣" * 10,
        "1" * 20,
    ],
)
def test_a_timestamp_is_digits_only(text: str) -> None:
    """Signed with that very text, so that nothing but its form is wrong."""
    mac = hmac.new(SECRET, f"msg_1.{text}.".encode() + BODY, hashlib.sha256)
    headers = {
        "webhook-id": ["msg_1"],
        "webhook-timestamp": [text],
        "webhook-signature": ["v1," + base64.b64encode(mac.digest()).decode()],
    }
    assert verified(headers) is None


def test_a_timestamp_is_within_five_minutes_on_both_sides() -> None:
    for offset, accepted in ((-301, False), (-300, True), (0, True), (300, True), (301, False)):
        headers = signed(at=int(NOW.timestamp()) + offset)
        assert (verified(headers) == "msg_1") is accepted, offset


@pytest.mark.parametrize("id_", ["a.b", "a" * 257, "a b", "a\nb", "a\x00b", "é", "a\x7f"])
def test_an_id_has_no_full_stop_and_only_visible_ascii(id_: str) -> None:
    assert verified(signed(id_=id_)) is None


@pytest.mark.parametrize(
    "change", [lambda b: b.replace(b": ", b":"), lambda b: b + b"\n", lambda b: b[:-1], lambda b: b""]
)
def test_a_body_written_anew_is_another_body(change: object) -> None:
    assert verified(signed(), change(BODY)) is None  # type: ignore[operator]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "whsec_c2hvcnQ=",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_" + "A" * 100,
        "whsec_é",
        f"whsec_{'A' * 34}B=",
    ],
)
def test_a_secret_that_is_none_is_refused_at_the_start(text: str) -> None:
    """Too short, too long, without its prefix, or base64 with bits that mean nothing."""
    with pytest.raises(Problem) as refused:
        LabelAccess(FixedClock(NOW), [text])
    assert len(text) < 10 or text not in str(refused.value)


def test_a_secret_made_here_is_read_here() -> None:
    assert len(standard.read_secret(standard.new_secret())) == 32


def test_two_secrets_are_live_while_one_takes_over_and_the_file_is_read_again(tmp_path: Path) -> None:
    """The old one is valid beside the new one, and not after it was taken out; without a restart."""
    old, new = standard.new_secret(), standard.new_secret()
    file = tmp_path / "secrets"
    file.write_text(f"# for labels\n{old}\n")
    access = LabelAccess(FixedClock(NOW), secrets_file=file)
    by_old, by_new = (signed(secret=standard.read_secret(one)) for one in (old, new))
    assert access.verify(by_old, BODY) == "msg_1"
    with pytest.raises(Problem) as refused:
        access.verify(by_new, BODY)
    assert (refused.value.status, refused.value.code) == (401, "signature")
    file.write_text(f"{new}\n\n{old}\n")
    assert access.verify(by_old, BODY) == access.verify(by_new, BODY) == "msg_1"
    file.write_text(f"{new}\n")
    assert access.verify(by_new, BODY) == "msg_1"
    with pytest.raises(Problem):
        access.verify(by_old, BODY)


def test_a_secrets_file_with_a_slip_puts_no_secret_in_force(tmp_path: Path) -> None:
    """Senders are told to come again; the secret that was taken out is not valid because of the slip."""
    old = standard.new_secret()
    file = tmp_path / "secrets"
    file.write_text(old)
    access = LabelAccess(FixedClock(NOW), secrets_file=file)
    file.write_text("whsec_slip\n")
    for content in (None, f"{old}\nwhsec_slip"):
        with pytest.raises(Problem) as refused:
            access.verify(signed(secret=standard.read_secret(old)), BODY)
        assert refused.value.status == 503
        if content:
            file.write_text(content)


def test_a_key_opens_and_any_other_does_not() -> None:
    key = new_key()
    access = LabelAccess(FixedClock(NOW), key_hashes=[hash_of(key)], required=True)
    for headers in ({"authorization": [f"Bearer {key}"]}, {"x-api-key": [key]}):
        assert access.admit(headers) is False
    refused: list[Mapping[str, Sequence[str]]] = [
        {}, {"authorization": [f"Basic {key}"]}, {"authorization": [key]}, {"authorization": [f"Bearer  {key}"]},
        {"x-api-key": [key[:-1]]}, {"x-api-key": [""]}, {"x-api-key": [key, key]}, {"x-api-key": ["é\udcff"]},
        {"authorization": [f"Bearer {key}"], "x-api-key": ["other"]}, {"x-api-key": [hash_of(key)]},
    ]  # fmt: skip
    for one in refused:
        with pytest.raises(Problem) as problem:
            access.admit(one)
        assert (problem.value.status, problem.value.code) == (401, "unauthorized")


def test_a_signed_request_is_checked_also_where_none_is_needed() -> None:
    access = LabelAccess(FixedClock(NOW), [standard.SECRET_PREFIX + base64.b64encode(SECRET).decode()])
    assert access.admit({}) is False
    assert access.admit({"webhook-id": ["x"]}) is True
    assert LabelAccess(FixedClock(NOW)).admit(signed()) is False


def test_what_is_required_has_to_be_configured() -> None:
    with pytest.raises(Problem, match="no secret and no key"):
        LabelAccess(FixedClock(NOW), required=True)
    with pytest.raises(Problem, match="sha256"):
        LabelAccess(FixedClock(NOW), key_hashes=[new_key()])


def test_the_clock_of_the_verifier_is_the_injected_one() -> None:
    clock = FixedClock(NOW)
    access = LabelAccess(clock, [standard.SECRET_PREFIX + base64.b64encode(SECRET).decode()])
    assert access.verify(signed(), BODY) == "msg_1"
    clock.advance(timedelta(seconds=301))
    with pytest.raises(Problem):
        access.verify(signed(), BODY)
