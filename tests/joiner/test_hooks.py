"""Sources of webhooks over the real store: what is stored, counted, kept for replay and remembered over a restart."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.joiner.conftest import NOW, Line
from upshot_joiner.errors import Problem, StoreError
from upshot_joiner.intake.receive import Receiver
from upshot_joiner.intake.webhooks.hooks import Hooks, Taken
from upshot_joiner.intake.webhooks.sources import Sources
from upshot_joiner.store.client import Store

SECRET = "a-secret-of-32-characters-or-so!"  # noqa: S105  # made for the test
MAPPING = {"id": "id", "events": "list", "fields": {"request_id": "r", "value": "v", "observed_at": "at"}}
CONFIG = {"signature": {"scheme": "github", "secrets": [{"env": "GITHUB_SECRET"}]}, "mapping": MAPPING}
ENVIRONMENT = {"GITHUB_SECRET": SECRET}


def opened(line: Line, environment: dict[str, str] | None = None, exposed: bool = False) -> Hooks:
    sources = Sources(line.store, line.stamper, ENVIRONMENT if environment is None else environment)
    hooks = Hooks(
        line.store, line.stamper, line.clock, Receiver(line.committer), line.committer, sources, exposed=exposed
    )
    hooks.start()
    return hooks


@pytest.fixture
def hooks(line: Line) -> Iterator[Hooks]:
    made = opened(line)
    yield made
    made.close()


def deliver(hooks: Hooks, source: str, content: Any, secret: str = SECRET) -> Taken:
    """A signed delivery, taken as the route takes it."""
    body = json.dumps(content).encode()
    signature = "sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest()
    found = hooks.open_to(source)
    try:
        mapped, kept = hooks.map(found, {"x-hub-signature-256": [signature]}, body)
    except Problem:
        hooks.refused(found)
        raise
    return asyncio.run(hooks.store(found, mapped, kept))


def test_a_delivery_becomes_label_events_and_counts_once_when_it_comes_again(
    line: Line, hooks: Hooks, fresh: str
) -> None:
    hooks.configure(fresh, CONFIG)
    content = {"id": 1, "list": [{"r": f"{fresh}-a", "v": 0}, {"r": f"{fresh}-b", "v": False}]}
    assert deliver(hooks, fresh, content).answer.accepted == 2
    line.clock.advance(timedelta(days=2))
    again = deliver(hooks, fresh, content).answer
    assert (again.accepted, again.duplicates, again.rejected) == (0, 2, 0)
    assert [event["value"] for event in line.story(f"{fresh}-a")["label_events"]] == [0]
    assert [event["label_id"] for event in line.story(f"{fresh}-b")["label_events"]] == [f"{fresh}:1/1"]


def test_a_label_of_an_entity_finds_its_prediction(line: Line, hooks: Hooks, fresh: str) -> None:
    """The sender knows its order and no request."""
    line.predict(
        {"request_id": fresh, "model": fresh, "entities": {"order": f"o-{fresh}"}, "predicted_at": NOW.timestamp()}
    )
    line.clock.advance(timedelta(hours=1))
    hooks.configure(
        fresh, {**CONFIG, "mapping": {"id": "id", "fields": {"entity": {"order": "order"}, "value": "paid"}}}
    )
    content = {"id": 1, "order": f"o-{fresh}", "paid": False}
    assert deliver(hooks, fresh, content).answer.accepted == 1
    assert deliver(hooks, fresh, content).answer.duplicates == 1
    assert [row[3:] for row in line.outcomes(fresh)] == [("labelled", "false")]


def test_counts_of_deliveries_balance_over_a_restart(line: Line, hooks: Hooks, fresh: str) -> None:
    """Received is mapped, filtered, unmapped and rejected; also what was only noted is written at the end."""
    hooks.configure(fresh, {**CONFIG, "mapping": {**MAPPING, "when": "v != `9`"}})
    deliver(hooks, fresh, {"id": 1, "list": [{"r": fresh, "v": 1}, {"r": fresh, "v": 9}]})
    deliver(hooks, fresh, {"id": 2, "list": [{"r": fresh, "v": 9}]})
    deliver(hooks, fresh, {"id": 3, "list": []})
    deliver(hooks, fresh, {"id": 4, "list": [{"v": 1}, {"r": f"{fresh}-4", "v": 1}]})
    for _ in range(2):
        with pytest.raises(Problem):
            deliver(hooks, fresh, {"id": 5}, secret="another-secret")  # noqa: S106  # made for the test
    expected = {"received": 6, "mapped": 1, "filtered": 2, "unmapped": 1, "rejected": 2}
    assert hooks.state(fresh)["counts"] == expected
    hooks.close()
    restarted = opened(line)
    assert restarted.state(fresh)["counts"] == expected
    assert restarted.state(fresh)["events"] == {"accepted": 2, "duplicates": 0, "refused": 0}
    restarted.close()


def test_what_cannot_be_mapped_waits_until_the_mapping_is_mended(line: Line, hooks: Hooks, fresh: str) -> None:
    """It is kept once, with the places; after a replay its labels are there, observed when they came, and nothing waits."""
    hooks.configure(fresh, CONFIG)
    came = line.stamper.next()
    content = {"id": 7, "list": [{"r": f"{fresh}-a", "v": 1}, {"ref": f"{fresh}-b", "v": 0}]}
    taken = deliver(hooks, fresh, content)
    assert taken.answer.accepted == 1
    assert taken.unmapped == [{"index": 1, "loc": "request_id", "code": "missing"}]
    line.clock.advance(timedelta(hours=1))
    deliver(hooks, fresh, content)
    state = hooks.state(fresh, with_text=True)
    assert state["waiting"]["bodies"] == 1
    [body] = state["bodies"]
    assert json.loads(body["body"]) == content
    assert body["errors"] == [{"index": 1, "loc": "request_id", "code": "missing"}]
    assert hooks.replay(fresh) == {
        "replayed": 0, "accepted": 0, "duplicates": 1, "rejected": 0, "filtered": 0, "waiting": 1,
    }  # fmt: skip
    mended = {**MAPPING, "fields": {**MAPPING["fields"], "request_id": "r || ref"}}  # type: ignore[dict-item]
    hooks.configure(fresh, {**CONFIG, "mapping": mended})
    line.clock.advance(timedelta(days=3))
    assert hooks.replay(fresh) == {
        "replayed": 1, "accepted": 1, "duplicates": 1, "rejected": 0, "filtered": 0, "waiting": 0,
    }  # fmt: skip
    [event] = line.story(f"{fresh}-b")["label_events"]
    assert came <= event["observed_at"] < came + timedelta(minutes=1)
    assert hooks.replay(fresh)["replayed"] == 0
    # Its sender's own repeat, days later, is the same content, though it brings no time.
    again = deliver(hooks, fresh, content).answer
    assert (again.accepted, again.duplicates, again.rejected) == (0, 2, 0)
    assert hooks.state(fresh)["waiting"] == {"bodies": 0, "bytes": 0, "oldest": None, "replayed": 1}


def test_bodies_that_still_cannot_be_mapped_hold_up_none_behind_them(line: Line, hooks: Hooks, fresh: str) -> None:
    hooks.configure(fresh, CONFIG)
    for n in range(60):
        deliver(hooks, fresh, {"id": n, "list": [{"ref" if n % 2 else "other": f"{fresh}-{n}", "v": n}]})
    mended = {**MAPPING, "fields": {**MAPPING["fields"], "request_id": "r || ref"}}  # type: ignore[dict-item]
    hooks.configure(fresh, {**CONFIG, "mapping": mended})
    told = hooks.replay(fresh)
    assert (told["replayed"], told["accepted"], told["waiting"]) == (30, 30, 30)


def test_a_delivery_that_could_not_be_stored_is_stored_when_it_comes_again(
    line: Line, hooks: Hooks, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The labels are in, the body and the count are not: the sender is told to come again, and nothing counts twice."""
    hooks.configure(fresh, CONFIG)
    content = {"id": 1, "list": [{"r": fresh, "v": 1}, {"v": 1}]}
    insert = Store.insert

    def fails(self: Store, table: str, rows: Any) -> None:
        if table.startswith("hook_"):
            raise StoreError("full")
        insert(self, table, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "insert", fails)
        with pytest.raises(StoreError):
            deliver(hooks, fresh, content)
    assert hooks.state(fresh)["counts"]["received"] == 0
    taken = deliver(hooks, fresh, content)
    assert (taken.answer.accepted, taken.answer.duplicates) == (0, 1)
    state = hooks.state(fresh)
    assert (state["counts"]["received"], state["waiting"]["bodies"]) == (1, 1)


def test_no_more_is_kept_than_there_is_room_for(hooks: Hooks, fresh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it, a delivery is not acknowledged: its sender still has it. What can be mapped is taken."""
    hooks.configure(fresh, CONFIG)
    monkeypatch.setattr("upshot_joiner.intake.webhooks.bodies.MAX_WAITING", 0)
    with pytest.raises(Problem) as refused:
        deliver(hooks, fresh, {"id": 1, "list": [{"v": 1}]})
    assert (refused.value.status, refused.value.code) == (503, "too_many_unmapped")
    assert deliver(hooks, fresh, {"id": 2, "list": [{"r": fresh, "v": 1}]}).answer.accepted == 1


def test_a_secret_never_leaves(line: Line, hooks: Hooks, fresh: str) -> None:
    """Not in an answer, not in the history; left out of a new configuration, it stays in force, over a restart too."""
    value = "the-value-of-a-secret"
    signature = {"scheme": "github", "secrets": [{"value": value}, {"env": "GITHUB_SECRET"}, {"env": "UNSET"}]}
    answer = hooks.configure(fresh, {"signature": signature, "mapping": MAPPING})
    assert answer["config"]["signature"]["secrets"] == [
        {"value": "kept"}, {"env": "GITHUB_SECRET", "found": True}, {"env": "UNSET", "found": False},
    ]  # fmt: skip
    hooks.configure(fresh, {"signature": {"scheme": "github"}, "mapping": {**MAPPING, "id": "id || other"}})
    restarted = opened(line)
    content = {"id": 1, "list": [{"r": fresh, "v": 1}]}
    for secret in (value, SECRET):
        assert deliver(restarted, fresh, content, secret).answer.rejected == 0
    history = line.store.query("SELECT config FROM hook_history WHERE source = {s:String}", {"s": fresh})
    assert len(history) == 2
    for shown in (repr(restarted.state(fresh, with_text=True)), repr(hooks.state(fresh)), repr(history), repr(answer)):
        assert value not in shown
        assert SECRET not in shown
    restarted.close()


def test_the_same_configuration_again_is_no_change(line: Line, hooks: Hooks, fresh: str) -> None:
    for _ in range(2):
        hooks.configure(fresh, CONFIG)
    assert line.store.query("SELECT count() FROM hook_history WHERE source = {s:String}", {"s": fresh}) == [(1,)]


def test_without_any_secret_nothing_is_taken_and_the_sender_comes_again(line: Line, fresh: str) -> None:
    """A variable that is missing, or too short to be a secret, must not open the door; nor turn deliveries away for good."""
    for environment in ({}, {"GITHUB_SECRET": ""}, {"GITHUB_SECRET": "short"}, {"GITHUB_SECRET": "\udcff" * 9}):
        hooks = opened(line, environment)
        hooks.configure(fresh, CONFIG)
        with pytest.raises(Problem) as refused:
            deliver(hooks, fresh, {"id": 1, "list": []}, "short")
        assert (refused.value.status, refused.value.code) == (503, "secret_missing")
        hooks.close()


def test_a_source_without_a_signature_is_for_this_machine(line: Line, hooks: Hooks, fresh: str) -> None:
    """It says so; and a server that others can reach takes neither its configuration nor its deliveries."""
    config = {"signature": {"scheme": "none"}, "mapping": MAPPING}
    assert "whoever reaches this server" in hooks.configure(fresh, config)["warning"]
    assert deliver(hooks, fresh, {"id": 1, "list": [{"r": fresh, "v": 1}]}).answer.accepted == 1
    exposed = opened(line, exposed=True)
    for attempt in (lambda: exposed.configure(f"{fresh}-2", config), lambda: exposed.open_to(fresh)):
        with pytest.raises(Problem) as refused:
            attempt()
        assert refused.value.status == 403
    exposed.close()


def test_an_unknown_source_and_a_wrong_name_are_refused(hooks: Hooks) -> None:
    with pytest.raises(Problem) as refused:
        hooks.open_to("nobody")
    assert refused.value.status == 404
    for name in ("", "A", "a/b", "-a", "a" * 65, "a\n", "é"):
        with pytest.raises(Problem) as refused:
            hooks.configure(name, CONFIG)
        assert refused.value.code == "invalid_source_name"


def test_two_processes_see_each_others_sources(line: Line, hooks: Hooks, fresh: str) -> None:
    """Where the store is shared, a configuration that another process put in force counts within seconds."""
    now = [0.0]
    other = Sources(line.store, line.stamper, ENVIRONMENT, lambda: now[0])
    other._shared = True
    hooks.configure(fresh, CONFIG)
    with pytest.raises(Problem):
        other.get(fresh)
    now[0] += 6
    assert other.get(fresh).config.mapping.id == "id"


def test_a_preview_shows_what_would_be_stored_and_stores_nothing(line: Line, hooks: Hooks, fresh: str) -> None:
    """By the mapping given, also where no such source is; by that in force, where none is given."""
    body = {"id": 5, "list": [{"r": fresh, "v": 0, "at": "2026-01-01T01:00:00+01:00"}, {"v": 1}]}
    shown = hooks.preview(fresh, {"body": body, "mapping": MAPPING})
    assert shown["errors"] == [{"index": 1, "loc": "request_id", "code": "missing"}]
    [event] = shown["events"]
    assert event.pop("observed_at").isoformat() == "2026-01-01T00:00:00+00:00"
    assert event == {
        "index": 0, "request_id": fresh, "name": "label", "op": "set", "value": 0, "label_id": f"{fresh}:5/0", "source": fresh,
    }  # fmt: skip
    with pytest.raises(Problem) as refused:
        hooks.preview(fresh, {"body": body})
    assert refused.value.status == 404
    hooks.configure(fresh, CONFIG)
    assert hooks.preview(fresh, {"body": body})["events"][0]["label_id"] == f"{fresh}:5/0"
    with pytest.raises(Problem):
        line.story(fresh)
    assert hooks.state(fresh)["counts"]["received"] == 0
    for wrong in (None, [], {}, {"body": 1, "headers": 5}, {"body": 1, "headers": {"a": 1}}, {"body": 1, "other": 2}):
        with pytest.raises(Problem) as refused:
            hooks.preview(fresh, wrong)
        assert refused.value.status == 422
