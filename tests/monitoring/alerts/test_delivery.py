"""What fires gets out: once for each transition, in order, whatever happens to receivers, servers and clocks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.monitoring.alerts.conftest import SECRET, First, World
from upshot_joiner.errors import Problem, StoreUnavailable
from upshot_joiner.intake.webhooks import standard
from upshot_joiner.store.client import Store
from upshot_monitoring.alerts.alerts import Alerts
from upshot_monitoring.alerts.channels import webhook
from upshot_monitoring.alerts.deliveries import MAX_WAITING, Deliveries
from upshot_monitoring.alerts.sender import LONGEST_PAUSE_S, pause_s

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def looks(world: World, server: Alerts, *waiting: int) -> None:
    """Look once for each number of waiting events, a minute apart."""
    for one in waiting:
        world.clock.advance(MINUTE)
        world.waiting = one
        server.look()


def deliver(world: World, server: Alerts) -> None:
    server.deliver(world.channel)


def test_each_transition_is_delivered_once_and_signed(world: World) -> None:
    """ok, firing, firing, ok: two messages, each verified by our own strict verifier, about one incident."""
    from upshot_joiner.clock import SystemClock

    world.rule()
    server = world.server(link="https://upshot.example.com/")
    for waiting in (3, 30, 40, 3, 3):
        looks(world, server, waiting)
        deliver(world, server)
    assert world.receiver.kinds() == ["firing", "resolved"]
    fired, resolved = world.receiver.got
    secret = standard.read_secret(SECRET)
    for one in (fired, resolved):
        assert standard.verified_id([secret], one.headers, one.body, SystemClock().now()) == one.json["data"]["id"]
    told = fired.json["data"]
    assert told["incident"] == resolved.json["data"]["incident"]
    assert told["id"] != resolved.json["data"]["id"]
    assert (told["model"], told["rule"], told["severity"]) == (world.model, "lag.intake > 10", "warning")
    assert (told["figures"]["value"], told["figures"]["threshold"]) == (30, 10)
    assert told["link"] == f"https://upshot.example.com/models/{world.model}"
    assert "lag.intake is 30 (asked: > 10)" in told["text"]
    assert world.statuses() == [("firing", "sent"), ("resolved", "sent")]


def test_a_signature_is_of_every_secret_while_one_takes_over(world: World) -> None:
    from upshot_joiner.clock import SystemClock

    world.rule()
    world.environment["NEW"] = standard.new_secret()
    world.channel_settings = {"secrets": [{"env": "SECRET"}, {"env": "NEW"}]}
    server = world.server()
    looks(world, server, 30)
    deliver(world, server)
    [got] = world.receiver.got
    for secret in (SECRET, world.environment["NEW"]):
        verified = standard.verified_id([standard.read_secret(secret)], got.headers, got.body, SystemClock().now())
        assert verified is not None


def test_a_receiver_that_is_down_gets_it_when_it_is_back(world: World) -> None:
    """Also over restarts of the server, and in order: firing before resolved."""
    world.rule()
    world.receiver.stop()
    looks(world, world.server(), 30)
    deliver(world, world.server())
    [waiting] = world.deliveries()
    assert (waiting.status, waiting.attempts, waiting.error) == ("waiting", 1, "no_connection")
    assert timedelta(seconds=2.5) <= waiting.next_at - world.clock.now() <= timedelta(seconds=5)
    looks(world, world.server(), 3)
    deliver(world, world.server())
    assert [one.attempts for one in world.deliveries()] == [2, 0], "what ended the incident waits behind its beginning"
    world.receiver.start()
    world.clock.advance(HOUR)
    for _ in range(2):
        deliver(world, world.server())
    assert world.receiver.kinds() == ["firing", "resolved"]
    assert world.statuses() == [("firing", "sent"), ("resolved", "sent")]


def test_a_failing_receiver_is_asked_again_and_a_refusal_is_not(world: World) -> None:
    """5xx, 429 and 408 pass; another 4xx and a redirect do not: they are kept as refused, and what comes later still goes out."""
    world.rule()
    server = world.server()
    looks(world, server, 30)
    for status in (500, 503, 429, 408):
        world.receiver.script = [status]
        deliver(world, server)
        [one] = world.deliveries()
        assert (one.status, one.error) == ("waiting", f"http_{status}")
        world.clock.advance(HOUR)
    world.receiver.script = [404]
    deliver(world, server)
    [one] = world.deliveries()
    assert (one.status, one.error, one.attempts) == ("refused", "http_404", 5)
    looks(world, server, 3)
    world.receiver.script = [302]
    deliver(world, server)
    assert world.statuses() == [("firing", "refused"), ("resolved", "refused")]
    assert len(world.receiver.got) == 6


def test_a_receiver_says_when_to_come_again(world: World) -> None:
    world.rule()
    server = world.server()
    looks(world, server, 30)
    world.receiver.script, world.receiver.answer_headers = [429], {"retry-after": "120"}
    deliver(world, server)
    [one] = world.deliveries()
    assert one.next_at - world.clock.now() == timedelta(seconds=120)
    world.clock.advance(MINUTE)
    deliver(world, server)
    assert len(world.receiver.got) == 1, "not before it asked for"
    world.clock.advance(MINUTE)
    deliver(world, server)
    assert world.statuses() == [("firing", "sent")]


def test_a_receiver_that_does_not_answer_in_time_is_asked_again_under_the_same_id(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have taken the message: by the ID it can tell."""
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.2)
    world.rule()
    server = world.server()
    looks(world, server, 30)
    world.receiver.delay_s = 0.6
    deliver(world, server)
    assert world.deliveries()[0].error == "timeout"
    world.receiver.delay_s = 0
    world.clock.advance(HOUR)
    deliver(world, server)
    assert world.statuses() == [("firing", "sent")]
    from tests.waiting import eventually

    eventually(lambda: len(world.receiver.got) == 2)
    assert len({one.headers["webhook-id"][0] for one in world.receiver.got}) == 1


def test_pauses_double_with_a_part_by_chance_and_have_an_end() -> None:
    longest = [pause_s(n, None, lambda: 1.0) for n in range(1, 12)]
    shortest = [pause_s(n, None, lambda: 0.0) for n in range(1, 12)]
    assert longest[:4] == [5, 10, 20, 40]
    assert longest[-1] == LONGEST_PAUSE_S
    assert shortest == [one / 2 for one in longest]
    assert pause_s(1, 30.0) == 30
    assert pause_s(1, 1e9) == LONGEST_PAUSE_S


def test_what_cannot_be_delivered_for_days_is_given_up(world: World) -> None:
    world.rule()
    server = world.server(give_up_after="1d")
    world.receiver.script = [500] * 50
    looks(world, server, 30)
    deliver(world, server)
    world.clock.advance(timedelta(days=1, minutes=1))
    deliver(world, server)
    assert world.statuses() == [("firing", "given_up")]
    assert len(world.receiver.got) == 1


def test_a_secret_that_is_not_there_is_waited_for(world: World) -> None:
    """It is read whenever it is needed, so it may come, and change, while the server runs."""
    world.rule()
    server = world.server()
    secret = world.environment.pop("SECRET")
    looks(world, server, 30)
    deliver(world, server)
    assert world.deliveries()[0].error == "secret_missing"
    world.environment["SECRET"] = secret
    world.clock.advance(HOUR)
    deliver(world, server)
    assert world.statuses() == [("firing", "sent")]


def test_a_server_killed_before_it_queued_what_it_noted_is_finished_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state says that it fires and holds the message; the next turn queues it, though nothing changes any more."""
    world.rule()
    killed = world.server()
    with monkeypatch.context() as patched:
        patched.setattr(Deliveries, "put", _fails_after_states)
        with pytest.raises(StoreUnavailable):
            looks(world, killed, 30)
    assert world.deliveries() == []
    looks(world, world.server(), 30, 30)
    assert world.statuses() == [("firing", "waiting")]


def _fails_after_states(_: Deliveries, messages: Any, *_rest: Any) -> int:
    if list(messages):
        raise StoreUnavailable("killed here")
    return 0


def test_a_server_killed_after_it_sent_sends_again_under_the_same_id(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.rule()
    killed = world.server()
    looks(world, killed, 30)
    with monkeypatch.context() as patched:
        patched.setattr(Deliveries, "write", _fails)
        with pytest.raises(StoreUnavailable):
            deliver(world, killed)
    deliver(world, world.server())
    first, second = world.receiver.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


def _fails(*_: Any) -> None:
    raise StoreUnavailable("killed here")


def test_of_two_servers_one_looks_and_sends_and_the_other_takes_over(world: World) -> None:
    """What the first began is resolved by the second; nobody hears of it twice."""
    world.rule()
    a, b = First(), First(first=False)
    first, second = world.server(a), world.server(b)
    looks(world, first, 30)
    a.first, b.first = False, True
    deliver(world, first)
    assert world.receiver.got == []
    deliver(world, second)
    looks(world, second, 30, 3)
    deliver(world, second)
    assert world.receiver.kinds() == ["firing", "resolved"]


def test_two_servers_that_both_take_themselves_for_the_first_queue_a_transition_once(world: World) -> None:
    """One was stopped, and does not know yet that another has taken over: the same message has the same ID."""
    world.rule()
    one, other = world.server(First()), world.server(First())
    world.clock.advance(MINUTE)
    world.waiting = 30
    one.look()
    other.look()
    assert world.statuses() == [("firing", "waiting")]
    deliver(world, one)
    deliver(world, other)
    assert world.receiver.kinds() == ["firing"]


def test_a_store_that_is_away_fires_and_resolves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.rule()
    server = world.server()
    looks(world, server, 30)

    def away(*_: Any) -> Any:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(world.store, "query", away)
        with pytest.raises(StoreUnavailable):
            looks(world, server, 3)
    looks(world, server, 30)
    assert world.statuses() == [("firing", "waiting")]


def test_a_rule_that_is_removed_or_changed_while_it_fires_is_resolved(world: World) -> None:
    """Else nobody would ever close the incident."""
    world.rule(name="queue")
    server = world.server()
    looks(world, server, 30)
    world.rule("lag.intake > 20", name="queue")
    looks(world, server, 30)
    world.configs.config = world.configs.config.model_copy(update={"alerts": []})
    looks(world, server, 30, 30)
    for _ in range(4):
        deliver(world, server)
    told = [(one.json["type"], one.json["data"]["figures"]["note"]) for one in world.receiver.got]
    assert told == [
        ("alert.firing", ""),
        ("alert.resolved", "The rule was changed; it is looked at anew."),
        ("alert.firing", ""),
        ("alert.resolved", "The rule was removed."),
    ]
    incidents = [one.json["data"]["incident"] for one in world.receiver.got]
    assert incidents[0] == incidents[1] != incidents[2] == incidents[3]


def test_who_was_told_that_it_fires_is_told_that_it_is_over(world: World) -> None:
    """Though the rule names another channel by then; one that there is not is refused, and said so."""
    world.rule(name="queue")
    server = world.server()
    looks(world, server, 30)
    world.rule(name="queue", to=["gone"])
    looks(world, server, 30, 3)
    told = sorted((one.channel == world.channel, one.kind, one.status, one.error) for one in world.deliveries())
    assert told == [
        (False, "resolved", "refused", "no_such_channel"),
        (True, "firing", "waiting", ""),
        (True, "resolved", "waiting", ""),
    ]


def test_states_queue_and_mutes_are_the_same_on_a_clickhouse_server(world: World, server_store: Store) -> None:
    world.store = server_store
    world.channel_settings = {"max_per_hour": 2}
    flood(world, 3)
    server = world.server()
    looks(world, server, 1)
    server.mute(world.model, "lag.intake > 1", HOUR, "being mended")
    looks(world, world.server(), 100, 100)
    for _ in range(2):
        deliver(world, world.server())
    assert world.statuses() == [("firing", "sent"), ("firing", "sent")]
    looks(world, server, 0)
    deliver(world, server)
    told = server.answers.all()
    assert (told["firing"], told["deliveries"]["waiting"], told["channels"][0]["sent"]) == (0, 2, 2)
    world.clock.advance(HOUR)
    deliver(world, server)
    assert sorted(world.receiver.kinds()) == ["firing", "firing", "resolved", "resolved"]


def test_hysteresis_and_repetition_are_those_of_the_rule(world: World) -> None:
    """`until` is another threshold for the end; `repeat` tells again."""
    world.rule(until="lag.intake < 5", repeat="3m")
    server = world.server()
    looks(world, server, 11, 9, 7, 11, 4)
    assert [one.kind for one in world.deliveries()] == ["firing", "repeat", "resolved"]


def test_a_muted_rule_is_told_when_the_mute_is_over(world: World) -> None:
    world.rule(name="queue")
    server = world.server()
    server.mute(world.model, "queue", timedelta(minutes=3), "being mended")
    looks(world, server, 30, 30)
    [rule] = server.answers.of_model(world.model)["rules"]
    assert (rule["state"], rule["muted_because"]) == ("firing", "being mended")
    assert world.deliveries() == []
    looks(world, server, 30)
    assert world.statuses() == [("firing", "waiting")]
    with pytest.raises(Problem) as error:
        server.mute(world.model, "other", MINUTE, "")
    assert error.value.status == 404


def flood(world: World, n: int) -> None:
    """So many rules that fire at once."""
    rules = [{"when": f"lag.intake > {i}", "to": [world.channel]} for i in range(n)]
    from upshot_joiner.config import read_config

    world.configs.config = read_config({"alerts": rules})


def test_a_flood_waits_for_the_next_hour(world: World) -> None:
    """A program gets every message, and no more of them an hour than it can take."""
    world.channel_settings = {"max_per_hour": 5}
    flood(world, 12)
    server = world.server()
    looks(world, server, 100)
    for _ in range(4):
        deliver(world, server)
    assert len(world.receiver.got) == 5
    world.clock.advance(HOUR)
    deliver(world, server)
    assert len(world.receiver.got) == 10
    world.clock.advance(HOUR)
    deliver(world, server)
    assert len({one.json["data"]["id"] for one in world.receiver.got}) == 12


def test_the_queue_of_a_channel_has_an_end(world: World) -> None:
    """More than a thousand waiting messages are dropped, counted, and said so."""
    world.rule()
    queue = Deliveries(world.store)
    from upshot_monitoring.alerts.message import trial_message

    made = [
        (trial_message(f"{world.channel}-{i}", world.clock.now(), None), [world.channel])
        for i in range(MAX_WAITING + 2)
    ]
    assert queue.put(made, world.clock.now(), [world.channel]) == MAX_WAITING + 2
    counts = queue.by_channel()[world.channel]
    assert (counts["waiting"], counts["dropped"]) == (MAX_WAITING, 2)
    [told] = world.server().answers.all()["channels"]
    assert told["dropped"] == 2
    server = world.server(give_up_after="1m")
    world.clock.advance(HOUR)
    deliver(world, server)  # nothing is left for other tests


def test_one_message_that_a_receiver_cannot_digest_holds_up_no_other(world: World) -> None:
    flood(world, 3)
    server = world.server()
    looks(world, server, 100)
    world.receiver.script = [500, 200, 200]
    deliver(world, server)
    assert sorted(one.status for one in world.deliveries()) == ["sent", "sent", "waiting"]


def test_a_receiver_that_is_away_is_not_asked_for_every_message(world: World) -> None:
    """After three failures in a row the rest waits with them."""
    flood(world, 20)
    server = world.server()
    looks(world, server, 100)
    world.receiver.script = [500] * 20
    deliver(world, server)
    assert len(world.receiver.got) == 3
    assert sorted({one.attempts for one in world.deliveries()}) == [0, 1]
    deliver(world, server)
    assert len(world.receiver.got) == 3


def test_what_another_server_has_sent_meanwhile_is_not_sent_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was stopped between reading the queue and sending looks again before each message."""
    world.rule()
    stopped, other = world.server(First()), world.server(First())
    looks(world, stopped, 30)
    seen = Deliveries(world.store).waiting(world.channel)
    deliver(world, other)
    monkeypatch.setattr(Deliveries, "waiting", lambda *_: seen)
    deliver(world, stopped)
    assert world.receiver.kinds() == ["firing"]


def test_a_message_goes_where_the_settings_say_and_nowhere_else(world: World) -> None:
    """A receiver cannot send it on, with its signature, to an address of its choice."""
    world.rule()
    server = world.server()
    looks(world, server, 30)
    world.receiver.script = [307]
    world.receiver.answer_headers = {"location": f"{world.receiver.url}/elsewhere"}
    deliver(world, server)
    assert [one.path for one in world.receiver.got] == ["/hook"]
    assert world.statuses() == [("firing", "refused")]


def test_what_would_break_or_turn_a_line_is_in_no_message(world: World) -> None:
    """Names are data: their line ends, control characters and marks of direction stay out; the rule's key stays as it is."""
    name = "a\r\nb\x00c\u202ed\u2028e\x1b[31m"
    world.rule(name=name)
    server = world.server()
    looks(world, server, 30)
    deliver(world, server)
    told = world.receiver.got[0].json["data"]
    assert told["rule"] == name
    assert told["text"].splitlines()[0] == "Firing: a b c d e [31m (lag.intake > 10)"
    assert not set("\r\x00\u202e\u2028\x1b") & set(told["title"] + told["text"])
