"""Redaction: what a rule names leaves the process dropped, hashed or masked, wherever it stands; in doubt it does not leave."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import re
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.logger.test_values import as_read, same
from upshot.capture import redaction as redaction_module
from upshot.capture import value_kinds
from upshot.capture.events import EventEncoder, is_json
from upshot.capture.plain import encode
from upshot.capture.redaction import Redaction
from upshot.capture.value_kinds import KINDS, MAX_SCAN
from upshot.counters import Ledger
from upshot.errors import ConfigurationError
from upshot.wire import LabelEvent, Prediction

KEY = "a secret of 16+ characters"
MAIL = "jane.doe+x@mail.example.com"
CARD = "4111 1111 1111 1111"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
AWS = "AKIAIOSFODNN7EXAMPLE"


def rules(text: Any, key: str = KEY) -> Redaction:
    """These rules, which are some."""
    made = Redaction.read(text, key)
    assert made is not None
    return made


def hashed(text: str, key: str = KEY) -> str:
    """The hash of a text, as the documentation defines it."""
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def event_bytes(redact: Any, ledger: Ledger | None = None, **call: Any) -> bytes:
    """One prediction as it would be queued."""
    absent = dict.fromkeys(
        (
            "feature_times",
            "inputs",
            "attributions",
            "entities",
            "tags",
            "action",
            "propensity",
            "shown",
            "model_version",
        )
    )
    fields = {
        **absent,
        "features": {},
        "prediction": 0,
        "predicted_at": 1.7e9,
        "item_id": "",
        "request_id": "r",
        **call,
    }
    encoder = EventEncoder(ledger or Ledger(), rules(redact))
    return encoder.prediction(**{**fields, "model": "m", "model_version": "1", "writer_id": "w", "seq": 0})


def event(redact: Any, ledger: Ledger | None = None, **call: Any) -> Prediction:
    """One prediction as the server reads it."""
    (read,) = as_read([event_bytes(redact, ledger, **call)])
    return read


def label(redact: Any, ledger: Ledger | None = None, **call: Any) -> LabelEvent:
    """One label event as the server reads it."""
    fields = {"item_id": "", "model": None, "observed_at": None, "source": "", "label_id": None, "tags": None, **call}
    fields = {"request_id": "r", "name": "label", "op": "set", "writer_id": "w", "seq": 0, **fields}
    encoded = EventEncoder(ledger or Ledger(), rules(redact)).label(**fields)
    return msgspec.msgpack.decode(encoded, type=LabelEvent)


# ---- reading the rules -------------------------------------------------------------------------------------------------


def test_rules_are_read_from_code_and_from_a_variable_alike():
    """``UPSHOT_REDACT`` holds what ``redact=`` takes."""
    in_code = rules({"drop": ["password", "ssn"], "hash": "entities.user", "mask": ("~email",)})
    as_text = rules(" drop: password ,ssn;\n hash:entities.user ;mask:~email; ")
    for redact in (in_code, as_text):
        assert redact.decision("features", "ssn") == ("drop", "ssn")
        assert redact.decision("entities", "user") == ("hash", "user")
        assert redact.decision("features", "user") == (None, "user")
        assert redact.text(f"to {MAIL}") == "to ***"


@pytest.mark.parametrize("given", ["", " ; ", {}, {"drop": []}])
def test_no_rules_are_no_redaction(given):
    """Then nothing is looked at, and nothing is paid."""
    assert Redaction.read(given) is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("password", "must read like drop:password"),
        ("delete:password", "'delete' is no action"),
        ({"Drop": ["x"]}, "'Drop' is no action"),
        ("drop:", "a name is empty"),
        ("drop:a,,b", "a name is empty"),
        ("mask:~phone", "~phone is no kind of value; there are ~email, ~card, ~jwt, ~key, ~ip"),
        ("mask:~", "is no kind of value"),
        ({"drop": 5}, "drop must be a list of names"),
        ({"drop": [5]}, "drop must be a list of names"),
        (["password"], "must be a mapping"),
        ("hash:request_id", "labels and versions are told apart by it"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_when_it_is_configured(given, says):
    """A typing error must not let a password through."""
    with pytest.raises(ConfigurationError, match=re.escape(says)) as raised:
        Redaction.read(given, KEY, "UPSHOT_REDACT")
    assert str(raised.value).startswith("UPSHOT_REDACT")


@pytest.mark.parametrize("key", ["", "too short"])
def test_hashing_needs_a_secret_that_cannot_be_guessed(key):
    """A plain hash of a user number is found by trying all numbers; nor may the error show the key."""
    with pytest.raises(ConfigurationError, match="at least 16 characters") as raised:
        Redaction.read("hash:user", key)
    assert "too short" not in str(raised.value)
    assert Redaction.read("drop:user", key) is not None


# ---- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "hit", "missed"),
    [
        ("email", ["email", "EMail"], ["emails", "my_email", "e.mail"]),
        ("Email", ["email"], []),
        ("*mail*", ["email", "my_e-mail_2"], ["male"]),
        ("user_?", ["user_1"], ["user_12", "user_"]),
        ("[ab]1", ["a1", "B1"], ["c1"]),
        ("features.email", ["email"], ["mail"]),
        ("a.b", ["a.b"], ["b", "a"]),
        ("straße", ["STRASSE"], []),
        ("entities.email", [], ["email"]),
    ],
)
def test_names_are_matched_whole_in_any_case_and_by_patterns(target, hit, missed):
    """A place in front means that place only; dots in a name mean nothing else."""
    made = event(f"drop:{target}", features=dict.fromkeys([*hit, *missed], 1))
    assert list(made.features) == missed
    assert made.flags == ({f"features.{name}": "redacted" for name in hit} or None)


def test_a_name_is_redacted_wherever_it_stands():
    """In every section of an event, and inside nested values."""
    given = {"secret": "s3cr3t", "other": 1}
    ledger = Ledger()
    made = event(
        "drop:secret",
        ledger,
        features={**given, "nested": {"a": [{"Secret": "s3cr3t", "b": 2}]}},
        inputs=given,
        entities=given,
        tags=given,
        attributions={"secret": 0.5, "other": 1},
        feature_times={"secret": 5.0, "other": 1},
        prediction={"secret": 0.1, "other": 0.9},
    )
    assert made.features == {"other": 1, "nested": "{'a': [{'b': 2}]}"}
    assert made.inputs == {"other": 1}
    assert made.entities == made.tags == {"other": "1"}
    assert made.attributions == made.feature_times == {"other": 1}
    assert made.probabilities == {"other": 0.9}
    sections = ("features", "inputs", "entities", "tags", "attributions", "feature_times", "probabilities")
    assert made.flags == {"features.nested": "redacted", **{f"{section}.secret": "redacted" for section in sections}}
    assert ledger.redacted.value == 8


@dataclasses.dataclass
class Address:
    """A nested value with names of its own."""

    street: str
    zip: int


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        ("street", "{'zip': 5}"),
        ("features.home.street", "{'zip': 5}"),
        ("home.street", "{'zip': 5}"),
        ("inputs.home.street", "{'street': 'Elm', 'zip': 5}"),
        ("work.street", "{'street': 'Elm', 'zip': 5}"),
        ("home.*", "{}"),
    ],
)
@pytest.mark.parametrize("home", [Address("Elm", 5), {"street": "Elm", "zip": 5}], ids=["dataclass", "dict"])
def test_a_key_inside_a_nested_value_is_a_name_with_a_path(target, kept, home):
    """The path is that of the keys, with the section in front or without."""
    assert event(f"drop:{target}", features={"home": home}).features == {"home": kept}


def test_the_strictest_of_several_actions_is_taken():
    """Dropped rather than masked, masked rather than hashed, in whatever order they are written."""
    made = event("hash:*; mask:b*,c*; drop:c*", features={"a": 1, "b": 1, "c": 1}, prediction=0.5)
    assert made.features == {"a": hashed("1"), "b": "***"}
    assert made.prediction == hashed("0.5")


def test_null_stays_null():
    """That a value is missing is no secret, and null and "***" are two different features."""
    ledger = Ledger()
    made = event("hash:a; mask:b", ledger, features={"a": None, "b": None, "c": None})
    assert made.features == {"a": None, "b": None, "c": None}
    assert made.flags is None
    assert ledger.redacted.value == 0


@pytest.mark.parametrize("section", ["attributions", "feature_times"])
@pytest.mark.parametrize("action", ["hash", "mask"])
def test_where_only_numbers_can_stand_the_name_is_dropped(section, action):
    """A contribution says much about a value; it goes with its feature."""
    made = event(f"{action}:features.age", features={"age": 30}, **{section: {"age": 0.5, "x": 1.0}})
    assert getattr(made, section) == {"x": 1.0}
    assert made.features["age"] != 30


@pytest.mark.parametrize(
    ("redact", "prediction", "action"),
    [
        ("mask:prediction,action", "***", "***"),
        ("drop:prediction,action", None, None),
        ("hash:prediction", hashed("call jane"), "call jane"),
        ("mask:features.*", "call jane", "call jane"),
    ],
)
def test_prediction_and_action_are_places_too(redact, prediction, action):
    """A class may be a person."""
    made = event(redact, prediction="call jane", action="call jane")
    assert (made.prediction, made.action) == (prediction, action)


def test_labels_are_redacted_by_their_name_and_never_without_value():
    """A label with no value is none; so where it must not be kept, it is masked."""
    ledger = Ledger()
    assert label("mask:comment", ledger, name="comment", value="bad").value == "***"
    assert label("drop:label.comment", ledger, name="comment", value="bad").value == "***"
    assert label("hash:comment", ledger, name="comment", value=17).value == hashed("17")
    assert label("drop:features.comment", ledger, name="comment", value="bad").value == "bad"
    assert label("mask:~email", ledger, value=f"from {MAIL}", source=MAIL, tags={"by": MAIL}).tags == {"by": "***"}
    assert ledger.redacted.value == 6


def test_ids_and_models_are_what_labels_find_a_prediction_by():
    """They are never changed, by no pattern and no kind."""
    made = event("mask:*,~email,~card", request_id=MAIL, item_id=CARD, prediction=1)
    assert (made.request_id, made.item_id, made.model, made.model_version) == (MAIL, CARD, "m", "1")


# ---- hashes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [("17", "17"), (17, "17"), (1.5, "1.5"), (True, "true"), ("", ""), (b"x", "x"), ([1, 2.0], "[1, 2.0]"), ("ü", "ü")],
)
def test_a_hash_is_the_hmac_of_the_text_of_the_value(value, text):
    """So that anyone who has the key can make it: in another process, another language, another year."""
    made = event("hash:user", features={"user": value}, entities={"user": value})
    assert made.features == {"user": hashed(text)}
    if not isinstance(value, list):
        assert made.entities == {"user": hashed(text)}


def test_a_hash_is_pinned():
    """As ``openssl dgst -sha256 -hmac KEY`` makes it. A change of this breaks every join over a year of hashed data."""
    assert rules("hash:x").digest("u-17") == "6737381e431f4eb0ef177e2435e80b7e513a47345a8193621ae83d2dcd12338a"


def test_hashes_under_two_keys_have_nothing_in_common():
    """The key is what keeps a hash of a low number from being looked up."""
    assert rules("hash:x", KEY).digest("1") != rules("hash:x", KEY + ".").digest("1")
    assert rules("hash:x").digest("1") != hashlib.sha256(b"1").hexdigest()


# ---- kinds of values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "masked"),
    [
        ("email", MAIL, "***"),
        ("email", f"write to <{MAIL}>.", "write to <***>."),
        ("email", "jörg@müller.de, a@b.co", "***, ***"),
        ("email", "https://x.org/?mail=a%40b.com&x=1", "https://x.org/?mail=***&x=1"),
        ("email", "root@localhost 3@2", None),
        ("email", "a @ b.com", None),
        ("card", CARD, "***"),
        ("card", "4111111111111111", "***"),
        ("card", "378282246310005, 3782-822463-10005", "***, ***"),
        ("card", "no 5555 4111 1111 1111 1111 123.", "no 5555 *** 123."),
        ("card", "6011 1111 1111 1117;30569309025904;4222222222222", "***;***;***"),
        ("card", "4111 1111 1111 1112", None),
        ("card", "41111111111111111111111", None),
        ("card", "2024-11-23 12:30:00.000", None),
        ("jwt", f"token={JWT};", "token=***;"),
        ("jwt", "www.example.com eyJ", None),
        ("key", f"id {AWS}", "id ***"),
        ("key", "ghp_abcdefghijklmnopqrstuvwxyz0123456789", "***"),
        ("key", "github_pat_11ABCDEFG0123456789abcdef", "***"),
        ("key", "sk_live_4eC39HqLyjWDarjtT1zdp7dc", "***"),
        ("key", "xoxb-123456789012-abcdef", "***"),
        ("key", "AIzaSyA-1234567890abcdefghijklmnopqrstu", "***"),
        ("key", "sk-proj-abcdefghijklmnopqrst", "***"),
        ("key", "Authorization: Bearer abcdefghijklmnop1234", "Authorization: ***"),
        ("key", "postgres://user:pw@host/db", "postgres://***@host/db"),
        ("key", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----!", "***!"),
        ("key", "skilled basic bearer of a token", None),
        ("ip", "from 10.0.0.1.", "from ***."),
        ("ip", "fe80::1 2001:db8:0:0:0:0:2:1 ::ffff:1.2.3.4", "*** *** ***"),
        ("ip", "version 1.2.3, at 12:30:45, 256.1.1.1, std::vector", None),
    ],
)
def test_a_kind_of_value_is_masked_where_it_stands_and_the_rest_stays(kind, text, masked):
    """Only what was recognised goes."""
    made = event(f"mask:~{kind}", features={"a": text, "b": 1})
    assert made.features == {"a": masked or text, "b": 1}
    assert made.flags == ({"features.a": "redacted"} if masked else None)


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text("aA19.@:-_ eyJ%skAKI/=", max_size=40))
def test_the_quick_look_overlooks_nothing(kind, text):
    """What the quick look lets pass has nothing that the long look would find."""
    if value_kinds.HINTS[kind](text) is None:
        assert value_kinds.spans(kind, text) == []


def test_a_kind_is_found_wherever_a_text_stands():
    """In names, classes, entities, bytes, and deep inside what is only kept as text."""
    made = event(
        "mask:~email",
        features={"a": MAIL, MAIL: 1, "raw": MAIL.encode(), "nested": [{MAIL: [MAIL]}], "x": {"y": (MAIL, 1)}},
        inputs={"i": MAIL},
        entities={"e": MAIL},
        tags={"t": MAIL},
        prediction={MAIL: 0.9, "b": 0.1},
        action=MAIL,
    )
    assert made.features == {
        "a": "***",
        "***": 1,
        "raw": "***",
        "nested": "[{'***': ['***']}]",
        "x": "{'y': ['***', 1]}",
    }
    assert (made.inputs, made.entities, made.tags) == ({"i": "***"}, {"e": "***"}, {"t": "***"})
    assert (made.prediction, made.action, made.probabilities) == ("***", "***", {"***": 0.9, "b": 0.1})


def test_names_that_are_masked_alike_are_kept_apart():
    """Two features must not become one."""
    assert event("mask:~email", features={"a@x.de": 1, "b@x.de": 2}).features == {"***": 1, "****": 2}


def test_a_kind_is_dropped_or_hashed_by_rule():
    """Dropped: the whole value. Hashed: the part, so that it can still be joined."""
    made = event("drop:~card; hash:~email; mask:~ip", features={"a": f"{CARD} {MAIL}", "b": f"by {MAIL} at 10.0.0.1"})
    assert made.features == {"b": f"by {hashed(MAIL)} at ***"}
    assert made.flags == {"features.a": "redacted", "features.b": "redacted"}


def test_a_text_too_long_to_look_through_is_cut_where_nothing_is_cut_in_two():
    """What was not looked at does not leave; a token that crosses the end of what was looked at does not leave in part."""
    filler = "word " * (MAX_SCAN // 5)
    for tail in (MAIL, CARD, JWT, AWS):
        for shift in range(0, 120, 7):
            start = filler[: MAX_SCAN - shift]
            kept = event("mask:~email,~card,~jwt,~key", features={"a": start + tail + " end"}).features["a"]
            assert kept.endswith(("***", "*** end"))
            assert set(kept.replace("***", "").split()) <= {"word", "wor", "wo", "w", "end"}
            assert len(kept) > MAX_SCAN - 300
    assert event("mask:~email", features={"a": "x" * 2 * MAX_SCAN}).features["a"] == "***"
    assert event("drop:~email", features={"a": "x" * 2 * MAX_SCAN}).features == {}


def test_a_value_cut_short_is_not_cut_through_what_a_rule_recognises():
    """Nested values are kept as a thousand characters; half an address at the end is still most of an address."""
    for length in range(960, 1000):
        kept = event("mask:~email", features={"a": ["x" * (length - 20), MAIL, "y"]}).features["a"]
        assert MAIL[:4] not in kept


def test_a_text_with_very_many_places_is_masked_from_there_on():
    """Each hash costs a microsecond; a text of five thousand addresses must not cost five milliseconds."""
    kept = event("hash:~email", features={"a": "a@b.de " * 400}).features["a"]
    assert kept.count(hashed("a@b.de")) == 256
    assert "@" not in kept


HOSTILE_TEXTS = [
    *(
        "a",
        "a@",
        "@",
        "a.",
        "a@a.",
        "4",
        "4 ",
        "4111 1111 1111 1111 ",
        "4111111111111112 ",
        "eyJ",
        "eyJ-",
        "sk-",
        "ghp_",
    ),
    *("xoxb-", "bearer ", "bearer:", "://a:b", "://", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "1.", "1.1.1.1 "),
    *(":", "1:", "::1 ", "a::", "SG.", "a@b.c ", " ", "é", "AKIA", "eyJaaaaaaa.aaaa.", "0123456789abcdef"),
]


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_no_text_can_hold_up_a_call(text):
    """A megabyte made for the patterns takes milliseconds; were one of them not linear, it would take minutes."""
    redact = rules("mask:~email,~card,~jwt,~key,~ip")
    started = time.perf_counter()
    kept = redact.text(text * (1_000_000 // len(text)))
    assert time.perf_counter() - started < 1.0
    assert kept is not None
    assert len(kept) <= MAX_SCAN + 3 * 257 * 5


# ---- when in doubt -----------------------------------------------------------------------------------------------------


class Opaque:
    """Says a secret when it is printed."""

    def __repr__(self) -> str:
        return f"Opaque(password='hunter2', mail='{MAIL}')"

    __str__ = __repr__


@pytest.mark.parametrize("value", [Opaque(), [Opaque()], {"a": Opaque()}, {Opaque(): 1}])
def test_no_object_speaks_for_itself_while_rules_are_in_force(value):
    """Nobody can look into a text that foreign code writes: its type must do."""
    made = event("drop:unrelated", features={"a": value}, prediction=Opaque())
    assert made.features["a"].strip("[]{}").replace("'a': ", "").replace(": 1", "").strip("'") == "<Opaque>"
    assert made.prediction == "<Opaque>"
    assert b"hunter2" not in event_bytes("drop:unrelated", predicted_at=Opaque(), propensity=Opaque(), item_id=Opaque())


def test_bytes_that_are_no_text_do_not_leave_while_rules_are_in_force():
    """Nobody knows what they are."""
    made = event("mask:~email", features={"a": MAIL.encode() + b"\xff", "b": [b"\xff" + MAIL.encode()]})
    assert made.features == {"a": "<bytes>", "b": "[<bytes>]"}


def test_a_gigantic_text_is_not_read_to_its_end():
    """A hundred megabytes: hashed, copied or searched as a whole it would take a tenth of a second each time."""
    redact, text = rules("mask:~email,~card,~jwt,~key,~ip"), "x " * 50_000_000
    started = time.thread_time()  # not of the clock: others may have the processor
    for _ in range(20):
        assert len(redact.text(text) or "") < MAX_SCAN
    assert time.thread_time() - started < 1.0


def test_a_rule_that_fails_on_a_value_drops_it(monkeypatch):
    """It is not known whether it was harmless."""

    def fails(kind: str, text: str) -> Any:
        raise RuntimeError(text)

    ledger = Ledger()
    encoder = EventEncoder(ledger, rules("mask:~email"))
    monkeypatch.setattr(redaction_module, "spans", fails)
    made = encoder._convert.mapping({"a": MAIL, "b": 1, "c": "harmless"}, "features")
    assert made == {"b": 1, "c": "harmless"}
    assert ledger.redacted.value == 1


def test_what_it_remembers_is_bounded():
    """A service that makes names and texts without end must not fill its memory."""
    redact = rules("drop:password; mask:~email")
    for i in range(25_000):
        redact.plain({f"name {i}": f"text {i}"}, 0, lambda: None)
        redact.decision("inputs", f"name {i}")
    assert max(len(redact._clean["features"]), len(redact._clean_texts), len(redact._decisions)) <= 10_000
    assert redact.plain({"password": MAIL, "m": MAIL}, 0, lambda: None)[0] == {"m": "***"}


# ---- the short way -----------------------------------------------------------------------------------------------------

words = st.sampled_from(["email", "Password", "user_1", "x", "tags.x", MAIL]) | st.text(max_size=5)
plain_values = (
    st.sampled_from([MAIL, f"mail {MAIL}", CARD, "text", 17, None])
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | st.booleans()
    | st.lists(st.integers(0, 9) | st.floats(), max_size=3)
)


@pytest.mark.parametrize(
    "redact",
    [
        "drop:password; hash:user_*; mask:email",
        "mask:~email; drop:~card",
        "hash:~email,email; mask:features.x",
        "drop:*",
    ],
)
@given(
    features=st.dictionaries(words, plain_values),
    prediction=st.sampled_from([MAIL, "text"]) | st.integers() | st.floats() | st.booleans(),
)
def test_both_ways_redact_alike(redact, features, prediction):
    """The short way does less when less is to be done, and says so when it cannot: never something else."""
    before = dict(features)
    ledger, other = Ledger(), Ledger()
    try:
        kept, flags = rules(redact).plain(features, prediction, ledger.redacted.next)
        encode(kept)
    except (TypeError, OverflowError):
        return
    long = event(redact, other, features=features, prediction=prediction)
    assert same(kept, long.features)
    assert (flags or {}) == (long.flags or {})
    assert ledger.redacted.value == other.redacted.value
    assert same(features, before)
    assert same(long.prediction, prediction)


@pytest.mark.parametrize(
    ("features", "prediction"),
    [
        ({"a": {"password": "x"}}, 0),
        ({"a": [{"password": "x"}]}, 0),
        ({"a": ["x"]}, 0),
        ({"a": b"x"}, 0),
        ({"a": Address("Elm", 5)}, 0),
        ({1: "x"}, 0),
        ({"a": 1}, MAIL),
        ({MAIL: 1}, 0),
    ],
)
def test_the_short_way_leaves_what_it_cannot_judge_to_the_long_one(features, prediction):
    """What MessagePack would encode without anyone looking could hold anything."""
    with pytest.raises(TypeError):
        rules("drop:password; mask:~email").plain(features, prediction, lambda: None)


# ---- the canary --------------------------------------------------------------------------------------------------------

CANARY = "c4n4ry"


def hiding_places() -> list[dict[str, Any]]:
    """Calls with a canary in every place that a rule can name or recognise."""
    mail = f"{CARD[:0]}{CANARY}@example.org"
    nested = {"password": CANARY, "deep": [{"password": CANARY, "mail": f"x {mail}"}]}
    return [
        {"features": {"password": CANARY, "b": 1}},
        {"features": {"b": mail, "c": [mail], "d": nested, "e": {mail}, "f": mail.encode(), "g": Opaque, mail: 1}},
        {"features": {"password": CANARY, "big": 2**70}},
        {"features": {"password": CANARY, "bad": "\ud800", "text": f"{mail}\ud800"}},
        {"features": {"password": [CANARY] * 9, "pass": {CANARY: {"password": CANARY}}}, "inputs": nested},
        {"features": {}, "entities": {"password": CANARY, "user": mail}, "tags": {"password": CANARY, "t": mail}},
        {"features": {}, "prediction": mail, "action": mail},
        {"features": {}, "prediction": {mail: 0.9, "b": 0.1}, "attributions": {mail: 0.5}, "feature_times": {mail: 5}},
        {"features": {"x": mail + " " + "y" * 100_000}},
    ]


@pytest.mark.parametrize("call", hiding_places(), ids=range(len(hiding_places())))
def test_the_canary_is_in_no_byte_that_leaves(call, caplog):
    """Neither in MessagePack nor in JSON, neither in a value nor in a name nor in a flag, nor in a line of log."""
    encoded = event_bytes("drop:password,pass; mask:~email", **call)
    assert CANARY.encode() not in encoded
    assert CANARY not in caplog.text
    assert is_json(encoded) == ("big" in call["features"])


def test_rules_and_key_are_in_no_repr():
    """An object that is logged by mistake must not say them."""
    redact = rules({"hash": ["entities.user"], "drop": [CANARY]})
    for shown in (repr(redact), str(redact), f"{redact!r}"):
        assert KEY not in shown
        assert CANARY not in shown
