"""From other systems' bodies to label events: what is mapped, what is not and why, and that nothing hostile gets far."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upshot.wire import LabelEvent
from upshot_joiner.clock import from_micros
from upshot_joiner.errors import Problem
from upshot_joiner.intake.webhooks.expression import Budget, Expression, NotEvaluated, TooCostly
from upshot_joiner.intake.webhooks.hooks import decode
from upshot_joiner.intake.webhooks.mapping import MAX_EVENTS, Mapped, Mapping
from upshot_joiner.intake.webhooks.source import read_mapping, read_source

DISPUTE: dict[str, Any] = {
    "id": "evt_3PqXkL2eZvKYlo2C",
    "object": "event",
    "type": "charge.dispute.created",
    "created": 1795867199,
    "livemode": False,
    "data": {
        "object": {
            "id": "du_1PqXkM2eZvKYlo2C",
            "object": "dispute",
            "amount": 2599,
            "currency": "eur",
            "status": "needs_response",
            "reason": "fraudulent",
            "charge": "ch_3PqXkL2eZvKYlo2C1",
            "metadata": {"upshot_request_id": "order-17"},
            "evidence_details": {"due_by": 1796471999, "has_evidence": False},
        }
    },
}
DISPUTES = {
    "id": "id",
    "when": "type == 'charge.dispute.created'",
    "fields": {
        "request_id": "data.object.metadata.upshot_request_id",
        "name": {"const": "chargeback"},
        "value": 1,
        "observed_at": {"expr": "created", "time": "epoch_s"},
        "tags": {"reason": "data.object.reason"},
    },
}
ISSUE = {
    "action": "labeled",
    "issue": {
        "number": 7,
        "title": "Wrong price",
        "body": "Prediction: `0190a0b0`",
        "updated_at": "2026-11-28T09:30:00Z",
    },
    "label": {"name": "model:wrong"},
    "repository": {"full_name": "shop/prices"},
    "sender": {"login": "octo"},
}
ISSUES = {
    "headers": ["X-GitHub-Event"],
    "when": [{"expr": "\"x-github-event\" == 'issues'", "of": "headers"}, "action == 'labeled'"],
    "value_map": {"model:wrong": False, "model:right": True},
    "fields": {
        "request_id": "join('#', [repository.full_name, to_string(issue.number)])",
        "name": {"const": "correct"},
        "value": "label.name",
        "observed_at": "issue.updated_at",
        "label_id": "join('/', [to_string(issue.number), label.name])",
    },
}
BATCH = {
    "batch": {"id": 981, "closed": "2026-11-27 18:00:00"},
    "cases": [
        {"ref": 1, "outcomes": [{"sku": "a", "returned": True}, {"sku": "b", "returned": False}]},
        {"ref": 2, "outcomes": [{"sku": "c", "returned": 0}]},
        {"ref": 3, "outcomes": []},
    ],
}
RETURNS = {
    "id": "batch.id",
    "events": "cases[].outcomes[]",
    "fields": {
        "request_id": {"expr": "join('-', ['batch', to_string(batch.id)])", "of": "body"},
        "item_id": "sku",
        "name": {"const": "returned"},
        "value": "returned",
        "observed_at": {"expr": "batch.closed", "of": "body", "time": "iso_utc"},
    },
}


def mapped(mapping: Any, body: Any, **headers: str) -> Mapped:
    return Mapping("src", read_mapping(mapping)).apply(body, {k.replace("_", "-"): v for k, v in headers.items()})


def events(found: Mapped) -> list[LabelEvent]:
    assert found.unmapped == []
    return [one.event for _, one in found.events]


def test_a_dispute_of_stripe_is_a_chargeback() -> None:
    found = mapped(DISPUTES, DISPUTE)
    [event] = events(found)
    assert (event.request_id, event.name, event.value, event.op) == ("order-17", "chargeback", 1, "set")
    assert from_micros(found.events[0][1].observed_us or 0).isoformat() == "2026-11-28T11:59:59+00:00"
    assert (event.label_id, event.source, event.tags) == ("src:evt_3PqXkL2eZvKYlo2C", "src", {"reason": "fraudulent"})


def test_what_does_not_hold_is_filtered_out() -> None:
    found = mapped(DISPUTES, {**DISPUTE, "type": "charge.dispute.closed"})
    assert (found.events, found.filtered, found.unmapped) == ([], 1, [])


def test_a_labelled_issue_of_github_is_a_judgement() -> None:
    """The event's name is in a header; the label's name stands for a value, and false is one."""
    [event] = events(mapped(ISSUES, ISSUE, x_github_event="issues"))
    assert (event.request_id, event.value, event.label_id) == ("shop/prices#7", False, "7/model:wrong")
    assert mapped(ISSUES, ISSUE, x_github_event="pull_request").filtered == 1
    assert mapped(ISSUES, ISSUE).filtered == 1
    assert mapped(ISSUES, {**ISSUE, "label": {"name": "other"}}, x_github_event="issues").unmapped == [
        {"index": 0, "loc": "value", "code": "not_in_value_map"}
    ]


def test_a_nested_list_is_an_event_for_each_of_its_elements() -> None:
    """Each has an ID of its own, from the delivery's; false and 0 are values, of their own types."""
    found = events(mapped(RETURNS, BATCH))
    assert [(e.request_id, e.item_id, e.value, e.label_id) for e in found] == [
        ("batch-981", "a", True, "src:981/0"),
        ("batch-981", "b", False, "src:981/1"),
        ("batch-981", "c", 0, "src:981/2"),
    ]
    assert type(found[2].value) is int
    assert {e.observed_at for e in found} == {"2026-11-27T18:00:00+00:00"}


def test_one_event_that_cannot_be_mapped_loses_no_other() -> None:
    broken = {
        "id": 1,
        "list": [{"r": "a", "v": 1}, {"r": "b", "v": None}, {"v": 1}, {"r": "d", "v": [1]}, {"r": "e", "v": 0.5}],
    }
    found = mapped({"events": "list", "fields": {"request_id": "r", "value": "v"}}, broken)
    assert [index for index, _ in found.events] == [0, 4]
    assert found.unmapped == [
        {"index": 1, "loc": "value", "code": "missing"},
        {"index": 2, "loc": "request_id", "code": "missing"},
        {"index": 3, "loc": "value", "code": "wrong_type"},
    ]


@pytest.mark.parametrize(
    ("form", "sent", "expected"),
    [
        ("iso", "2026-01-02T03:04:05.000006+01:00", "2026-01-02T02:04:05.000006+00:00"),
        ("iso", "2026-01-02T03:04:05", "time_without_offset"),
        ("iso", "yesterday", "invalid_time"),
        ("iso", 1_700_000_000, "wrong_type"),
        ("iso_utc", "2026-01-02T03:04:05", "2026-01-02T03:04:05+00:00"),
        ("iso_utc", "2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05+00:00"),
        ("iso_utc", "02.01.2026", "invalid_time"),
        ("epoch_s", 1_700_000_000, "2023-11-14T22:13:20+00:00"),
        ("epoch_s", "1700000000.5", "2023-11-14T22:13:20.500000+00:00"),
        ("epoch_s", 1_700_000_000.123456, "2023-11-14T22:13:20.123456+00:00"),
        ("epoch_s", 1_700_000_000_000, "out_of_range"),
        ("epoch_s", True, "wrong_type"),
        ("epoch_s", 1e300, "out_of_range"),
        ("epoch_s", float("inf"), "out_of_range"),
        ("epoch_s", "1e9", "invalid_time"),
        ("epoch_ms", 1_700_000_000_123, "2023-11-14T22:13:20.123000+00:00"),
        ("epoch_ms", "1700000000123", "2023-11-14T22:13:20.123000+00:00"),
        ("epoch_ms", 1_700_000_000, "out_of_range"),
        ("epoch_ms", {}, "wrong_type"),
    ],
)
def test_a_time_is_read_as_it_is_declared_and_no_other_way(form: str, sent: Any, expected: str) -> None:
    """Seconds taken for milliseconds are refused, not the year 1970."""
    mapping = {"fields": {"request_id": "r", "value": 1, "observed_at": {"expr": "at", "time": form}}}
    found = mapped(mapping, {"r": "x", "at": sent})
    if found.events:
        assert from_micros(found.events[0][1].observed_us or 0).isoformat() == expected
    else:
        assert found.unmapped == [{"index": 0, "loc": "observed_at", "code": expected}]


def test_an_entity_is_named_where_no_request_is_known() -> None:
    """A request ID, where the body has one, is the more exact of the two."""
    mapping = {"fields": {"request_id": "request", "entity": {"order": "order"}, "value": "paid"}}
    found = events(mapped(mapping, [{"order": 17, "paid": True}, {"order": 17, "request": "r", "paid": True}]))
    assert [(e.request_id, getattr(e, "entity", None)) for e in found] == [("", {"order": "17"}), ("r", None)]
    assert mapped(mapping, {"paid": True}).unmapped == [{"index": 0, "loc": "request_id", "code": "missing"}]
    assert mapped({"fields": {"entity": {"order": "order"}, "value": 1}}, {}).unmapped[0]["loc"] == "entity"


def test_a_retraction_has_no_value_and_a_number_may_be_an_id() -> None:
    mapping = {"fields": {"request_id": "order", "op": "op", "value": "value", "item_id": "item"}}
    found = events(mapped(mapping, [{"order": 17, "op": "retract", "value": 1, "item": 3}, {"order": 18, "value": 0}]))
    assert [(e.request_id, e.op, e.value, e.item_id) for e in found] == [
        ("17", "retract", None, "3"),
        ("18", "set", 0, ""),
    ]
    assert mapped(mapping, {"order": 1.5, "value": 1}).unmapped[0]["code"] == "wrong_type"
    assert mapped(mapping, {"order": "x", "value": 1, "op": "delete"}).unmapped[0] == {
        "index": 0, "loc": "op", "code": "not_allowed",
    }  # fmt: skip


def test_the_same_content_has_the_same_id_where_the_sender_gives_none() -> None:
    mapping = {"fields": {"request_id": "r", "value": "v"}}
    one, two, other = (mapped(mapping, {"r": "x", "v": v}).events[0][1].label_id for v in (1, 1, 2))
    assert one == two != other


def test_a_body_without_the_id_that_is_configured_is_not_mapped() -> None:
    for body in ({}, {"id": None}, {"id": ""}, {"id": [1]}, {"id": True}):
        assert mapped(DISPUTES, body).unmapped[0]["loc"] == "id"


@pytest.mark.parametrize(
    ("mapping", "loc"),
    [
        ({}, "mapping.fields"),
        ({"fields": {}}, "mapping.fields"),
        ({"fields": {"request_id": "a["}}, "mapping.fields.request_id.expr"),
        ({"fields": {"request_id": ""}}, "mapping.fields.request_id.expr"),
        ({"fields": {"request_id": "a" * 1025}}, "mapping.fields.request_id.expr"),
        ({"fields": {"request_id": "(" * 1000}}, "mapping.fields.request_id.expr"),
        ({"fields": {"request_id": {"expr": "a", "const": "b"}}}, "mapping.fields.request_id"),
        ({"fields": {"request_id": {}}}, "mapping.fields.request_id"),
        ({"fields": {"request_id": "a", "colour": "b"}}, "mapping.fields.colour"),
        (
            {"fields": {"request_id": "a", "observed_at": {"expr": "b", "time": "stardate"}}},
            "mapping.fields.observed_at.time",
        ),
        ({"fields": {"request_id": "a"}, "headers": ["a\r\nb"]}, "mapping.headers.0"),
        ({"fields": {"request_id": "a"}, "when": ["a =="]}, "mapping.when.0.expr"),
        ({"fields": {"request_id": "a"}, "value_map": {"a": [1]}}, "mapping.value_map.a"),
        ([], "mapping"),
        (None, "mapping"),
    ],
)
def test_a_wrong_mapping_is_refused_with_its_place(mapping: Any, loc: str) -> None:
    with pytest.raises(Problem) as refused:
        read_mapping(mapping)
    assert refused.value.status == 422
    assert any(str(place["loc"]).startswith(loc) for place in refused.value.errors), refused.value.errors


def test_a_mapping_never_sees_a_credential() -> None:
    """What it sees is kept with bodies that wait, and shown."""
    for name in ("Authorization", "cookie", "X-Api-Key"):
        with pytest.raises(Problem) as refused:
            read_mapping({"fields": {"request_id": "r"}, "headers": [name]})
        assert refused.value.errors == [{"loc": "mapping.headers", "code": "not_allowed"}]
    signature = {"scheme": "header", "header": "X-Token", "secrets": [{"env": "TOKEN"}]}
    with pytest.raises(Problem):
        read_source({"signature": signature, "mapping": {"fields": {"request_id": "r"}, "headers": ["x-token"]}})


@pytest.mark.parametrize(
    "raw",
    [
        {"scheme": "stripe", "secrets": []},
        {"scheme": "stripe", "secrets": [{}]},
        {"scheme": "stripe", "secrets": [{"value": "short"}]},
        {"scheme": "stripe", "secrets": [{"value": "long-enough\n"}]},
        {"scheme": "stripe", "secrets": [{"env": "A=B"}]},
        {"scheme": "stripe", "secrets": [{"env": "A", "value": "long-enough"}]},
        {"scheme": "standard", "secrets": [{"value": "long-enough-but-no-whsec"}]},
        {"scheme": "hmac", "secrets": [{"value": "long-enough"}]},
        {"scheme": "hmac", "secrets": [{"value": "long-enough"}], "header": "x", "algorithm": "md5"},
        {"scheme": "header", "secrets": [{"value": "long-enough"}], "header": "a b"},
        {"scheme": "none", "secrets": []},
        {"scheme": "trust me"},
        {"scheme": "github"},
        None,
    ],
)
def test_a_wrong_signature_configuration_is_refused(raw: Any) -> None:
    with pytest.raises(Problem) as refused:
        read_source({"signature": raw, "mapping": {"fields": {"request_id": "r"}}})
    assert refused.value.status == 422
    assert "long-enough" not in f"{refused.value} {refused.value.errors}"


HOSTILE = [
    "|".join(["[@,@]"] * 60) + "|to_string(@)",
    "|".join(["[@,@]"] * 60) + "|@ == @",
    "|".join(["[@,@][]"] * 60) + "|length(@)",
    "|".join(["[@,@]"] * 40) + "|[][][][][][][][][][][][][][][][][][][][][][]",
    "|".join(["join(to_string(@), [to_string(@), to_string(@)])"] * 15),
    "|".join(["{a:@,b:@}"] * 60) + "|contains([@], @)",
    "map(&map(&map(&map(&@, $), $), $), @)".replace("$", "`[" + ",".join(["1"] * 60) + "]`"),
    "ceil(to_number('inf'))",
    'sort(`[1, "a"]`)',
    "@[::0]",
    "nosuch(@)",
    "abs('x')",
    ".".join(["a"] * 512),
    "!" * 1000 + "a",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_expression_ends_soon_and_raises_nothing_else(text: str) -> None:
    """It would make 2^60 elements, or look at as many; or its functions raise whatever Python raises."""
    started = time.process_time()
    try:
        expression = Expression(text)
    except ValueError:
        return
    with contextlib.suppress(TooCostly, NotEvaluated):
        expression.evaluate([{"a": 1}, "x" * 1000], Budget())
    assert time.process_time() - started < 10  # it would be years; the bound is about a second


def test_half_a_character_of_a_literal_is_no_text() -> None:
    half = '`"\\ud800"`'
    for fields in ({"request_id": half, "value": 1}, {"request_id": "r", "value": half}):
        assert mapped({"fields": fields}, {"r": "x"}).unmapped == [{"index": 0, "loc": "", "code": "invalid_unicode"}]


def test_a_body_that_costs_too_much_is_not_mapped_and_says_so() -> None:
    mapping = {"fields": {"request_id": HOSTILE[0], "value": 1}}
    assert mapped(mapping, {"r": 1}) == Mapped(unmapped=[{"loc": "mapping", "code": "too_costly"}])
    many = {"events": "@", "fields": {"request_id": "r", "value": 1}}
    assert mapped(many, [{"r": "x"}] * (MAX_EVENTS + 1)).unmapped == [{"loc": "events", "code": "too_many"}]


def test_honest_bodies_are_far_from_the_bounds() -> None:
    """A thousand events of ten fields use a tenth of the budget."""
    fields = dict.fromkeys(("request_id", "item_id", "name", "source", "label_id", "model"), "a.b")
    mapping = read_mapping(
        {"when": "a.b != 'x'", "fields": {**fields, "value": "a.b", "tags": {"t": "a.b", "u": "a.b"}}}
    )
    budget = Budget()
    spent = budget.left
    found = Mapping("s", mapping).apply([{"a": {"b": str(n)}} for n in range(1000)], {}, budget)
    assert len(found.events) == 1000
    assert spent - budget.left < spent / 10


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abrv") | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    JSON, st.sampled_from([DISPUTES, ISSUES, RETURNS, {"events": "a.b[]", "fields": {"request_id": "r", "value": "v"}}])
)
def test_whatever_comes_every_event_is_in_one_place(body: Any, mapping: Any) -> None:
    """Mapped, filtered or unmapped; never an exception, and what is mapped is a label event."""
    found = mapped(mapping, body)
    places = {*(index for index, _ in found.events), *(one["index"] for one in found.unmapped if "index" in one)}
    if any("index" not in one for one in found.unmapped):
        assert (len(found.unmapped), places, found.filtered) == (1, set(), 0)
    else:
        held = Expression(mapping.get("events", "@")).evaluate(body, Budget())
        assert len(places) + found.filtered == (len(held) if isinstance(held, list) else 1)
    for _, one in found.events:
        assert msgspec.convert(msgspec.to_builtins(one.event), LabelEvent) == one.event


@pytest.mark.parametrize(
    ("body", "form", "code"),
    [
        (b"", "application/json", "invalid_json"),
        (b"{", "application/json", "invalid_json"),
        (b'{"a": NaN}', "application/json", "invalid_json"),
        (b'{"a": "\xff"}', "application/json", "invalid_json"),
        (b'{"a": "\\ud800"}', "application/json", "invalid_json"),
        (b"\xef\xbb\xbf{}", "application/json", "invalid_json"),
        ('{"a": 1}'.encode("utf-16"), "application/json", "invalid_json"),
        (b"[" * 100_000 + b"]" * 100_000, "application/json", "too_deep"),
        (b'{"a": ' + b"9" * 100_000 + b"}", "application/json", "invalid_json"),
        (b"{}", "text/html", "unsupported_media_type"),
        (b"a=b", "application/x-www-form-urlencoded", "invalid_form"),
        (b"payload=%ff", "application/x-www-form-urlencoded", "invalid_form"),
        (b"payload={&payload={}", "application/x-www-form-urlencoded", "invalid_form"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(body: bytes, form: str, code: str) -> None:
    with pytest.raises(Problem) as refused:
        decode(body, form, "")
    assert (refused.value.status in (400, 415), refused.value.code) == (True, code)


def test_a_form_and_a_body_without_a_type_are_read_too() -> None:
    assert decode(b"payload=%7B%22a%22%3A%22%C3%BC%22%7D", "application/x-www-form-urlencoded", "") == (
        '{"a":"ü"}',
        {"a": "ü"},
    )
    assert decode(b'{"a": 1e5}', "", "") == ('{"a": 1e5}', {"a": 1e5})
