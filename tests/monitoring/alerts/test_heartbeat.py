"""The dead man's switch beats only as long as rules are really evaluated and what fires gets out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.monitoring.alerts.conftest import First, World
from tests.monitoring.alerts.receivers import HttpReceiver
from tests.monitoring.alerts.test_delivery import deliver, looks
from tests.waiting import eventually
from upshot_joiner.errors import StoreUnavailable
from upshot_monitoring.alerts.alerts import Alerts
from upshot_monitoring.alerts.heartbeat import Heartbeat


@pytest.fixture
def switch() -> Iterator[HttpReceiver]:
    started = HttpReceiver().start()
    yield started
    started.stop()


def beating(world: World, switch: HttpReceiver, sharing: First | None = None) -> tuple[Alerts, Heartbeat]:
    world.environment["SWITCH"] = f"{switch.url}/ping/abc"
    server = world.server(sharing, heartbeat={"url": {"env": "SWITCH"}, "every": "1s"})
    heart = server._heartbeat
    assert heart is not None
    return server, heart


def test_it_beats_once_rules_were_looked_at(world: World, switch: HttpReceiver) -> None:
    world.rule()
    server, heart = beating(world, switch)
    assert not heart.beat()
    assert heart.trouble == "no rule was looked at yet"
    looks(world, server, 3)
    assert heart.beat()
    assert [one.path for one in switch.got] == ["/ping/abc"]
    assert server.answers.all()["heartbeat"] == {"every_s": 1.0, "sent_at": world.clock.now(), "trouble": None}


def test_it_does_not_beat_while_the_store_is_away(
    world: World, switch: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.rule()
    server, heart = beating(world, switch)
    looks(world, server, 3)

    def away(*_: Any) -> Any:
        raise StoreUnavailable("away")

    monkeypatch.setattr(world.store, "query", away)
    assert not heart.beat()
    assert switch.got == []


def test_it_does_not_beat_when_evaluation_is_late(
    world: World, switch: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task hangs: nothing fails, and nothing is looked at."""
    world.rule()
    server, heart = beating(world, switch)
    looks(world, server, 3)
    watch = server._watch
    assert not server.answers.status()["late"]
    watch._began = watch.turned.uptime = watch.turned.uptime - 1000
    assert not heart.beat()
    assert heart.trouble == "evaluation is late"
    assert server.answers.status()["late"]


def test_it_does_not_beat_when_a_rule_fails_or_an_alert_is_stuck(world: World, switch: HttpReceiver) -> None:
    world.rule()
    server, heart = beating(world, switch)
    answers = world.answers
    world.answers = answers.__class__(**{**vars(answers), "lag": dict})
    broken, its_heart = beating(world, switch)
    looks(world, broken, 3)
    assert not its_heart.beat()
    assert its_heart.trouble == "some rules failed"
    [rule] = broken.answers.of_model(world.model)["rules"]
    assert (rule["state"], rule["reason"]) == ("unknown", "evaluating it failed; it is in the server's log")
    world.answers = answers
    world.receiver.script = [500] * 9
    looks(world, server, 30)
    deliver(world, server)
    assert heart.beat(), "one failure is no reason"
    world.clock.advance(timedelta(minutes=16))
    server.look()
    assert not heart.beat()
    assert heart.trouble == "an alert cannot be delivered"


def test_a_switch_that_does_not_take_the_beat_is_told(world: World, switch: HttpReceiver) -> None:
    world.rule()
    server, heart = beating(world, switch)
    looks(world, server, 3)
    switch.script = [404]
    assert not heart.beat()
    assert server.answers.status()["heartbeat"]["trouble"] == "it was not taken: http_404"


def test_the_tasks_of_a_server_look_deliver_and_beat_by_themselves(world: World, switch: HttpReceiver) -> None:
    """Threads and all: fires, resolves, beats; and nothing more once it is stopped."""
    world.rule()
    world.waiting = 30
    world.alerting = {"every": "1s"}
    server, _ = beating(world, switch)
    server.start()
    try:
        eventually(lambda: world.receiver.kinds() == ["firing"])
        world.waiting = 3
        eventually(lambda: world.receiver.kinds() == ["firing", "resolved"])
        eventually(lambda: switch.got)
    finally:
        server.stop()


def test_the_one_that_is_not_first_does_nothing(world: World, switch: HttpReceiver) -> None:
    world.rule()
    world.waiting = 30
    world.alerting = {"every": "1s"}
    first = First(first=False)
    server, _ = beating(world, switch, first)
    server.start()
    try:
        assert server.answers.all()["evaluated_at"] is None or world.deliveries() == []
        first.first = True
        eventually(lambda: world.receiver.kinds() == ["firing"])
    finally:
        server.stop()
