"""Slack, PagerDuty and email by way of Apprise, against receivers that run here.

Slack's and PagerDuty's own addresses cannot be set from outside: the tests point Apprise's constants at a local receiver. What is
sent there is what Apprise sends."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from tests.monitoring.alerts.conftest import World
from tests.monitoring.alerts.receivers import MailServer
from tests.monitoring.alerts.test_delivery import HOUR, deliver, flood, looks

SLACK = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
ROUTING_KEY = "R0123456789abcdef0123456789abcde"


@pytest.fixture
def slack(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    from apprise.plugins.slack import NotifySlack

    monkeypatch.setattr(NotifySlack, "webhook_url", f"{world.receiver.url}/services")
    monkeypatch.setattr(NotifySlack, "request_rate_per_sec", 0)
    world.alerting = {"channels": {world.channel: {"kind": "slack", "url": {"env": "SLACK"}}}}
    world.environment["SLACK"] = SLACK
    return world


@pytest.fixture
def pagerduty(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    from apprise.plugins import pagerduty as plugin

    monkeypatch.setitem(plugin.PAGERDUTY_API_LOOKUP, "us", f"{world.receiver.url}/v2/enqueue")
    monkeypatch.setattr(plugin.NotifyPagerDuty, "request_rate_per_sec", 0)
    world.alerting = {"channels": {world.channel: {"kind": "pagerduty", "routing_key": {"env": "KEY"}}}}
    world.environment["KEY"] = ROUTING_KEY
    return world


def mailing(world: World, server: MailServer) -> World:
    channel = {
        "kind": "email",
        "host": "127.0.0.1",
        "port": server.port,
        "security": "none",
        "from": "upshot@example.com",
        "to": ["ops@example.com", "night@example.com"],
    }
    world.alerting = {"channels": {world.channel: channel}}
    return world


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apprise waits seconds between two messages to one service."""
    from apprise.plugins.email import NotifyEmail

    monkeypatch.setattr(NotifyEmail, "request_rate_per_sec", 0)


def test_slack_gets_what_fires_as_text(slack: World) -> None:
    """Names are anybody's: no mention and no markup of theirs works."""
    slack.rule(name="<!channel> *queue* & <https://evil.example|click>")
    server = slack.server()
    looks(slack, server, 30)
    deliver(slack, server)
    [got] = slack.receiver.got
    assert got.path == SLACK.removeprefix("https://hooks.slack.com")
    [attachment] = got.json["attachments"]
    assert got.json["mrkdwn"] is False
    assert "lag.intake is 30" in attachment["title"]
    assert "&lt;!channel&gt;" in attachment["text"]
    assert "<" not in attachment["text"].replace("&lt;", "")
    assert slack.statuses() == [("firing", "sent")]


def test_pagerduty_opens_an_incident_and_closes_the_same(pagerduty: World) -> None:
    pagerduty.rule(severity="critical")
    server = pagerduty.server(link="https://upshot.example.com")
    for waiting in (30, 3):
        looks(pagerduty, server, waiting)
        deliver(pagerduty, server)
    opened, closed = (one.json for one in pagerduty.receiver.got)
    assert (opened["event_action"], closed["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == closed["dedup_key"]
    assert opened["routing_key"] == closed["routing_key"] == ROUTING_KEY
    assert opened["payload"]["severity"] == "critical"
    assert opened["payload"]["component"] == pagerduty.model
    assert opened["payload"]["custom_details"]["value"] == "30.0"
    assert opened["links"] == [{"href": f"https://upshot.example.com/models/{pagerduty.model}"}]


def test_a_test_of_pagerduty_leaves_no_incident_open(pagerduty: World) -> None:
    assert pagerduty.server().test(pagerduty.channel)["delivered"]
    assert [one.json["event_action"] for one in pagerduty.receiver.got] == ["trigger", "resolve"]


@pytest.mark.parametrize("service", ["slack", "pagerduty"])
def test_a_key_that_is_wrong_is_told_from_a_service_that_is_down(
    service: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """Apprise says only that it failed; its log says by which status. None of it reaches ours."""
    world: World = request.getfixturevalue(service)
    world.rule()
    server = world.server()
    looks(world, server, 30)
    world.receiver.script = [503]
    with caplog.at_level(logging.DEBUG):
        deliver(world, server)
    assert (world.deliveries()[0].status, world.deliveries()[0].error) == ("waiting", "http_503")
    world.clock.advance(HOUR)
    world.receiver.stop()
    deliver(world, server)
    assert (world.deliveries()[0].status, world.deliveries()[0].error) == ("waiting", "no_connection")
    world.receiver.start()
    world.clock.advance(HOUR)
    world.receiver.script = [403]
    deliver(world, server)
    assert (world.deliveries()[0].status, world.deliveries()[0].error) == ("refused", "http_403")
    assert ROUTING_KEY not in caplog.text
    assert "TIiajkdnlazkcOXrIdevi7FQ" not in caplog.text


def test_mails_have_a_subject_and_a_text(world: World, mail_server: MailServer) -> None:
    mailing(world, mail_server).rule(severity="critical")
    server = world.server()
    for waiting in (30, 3):
        looks(world, server, waiting)
        deliver(world, server)
    fired = [mail for mail in mail_server.mails if "firing" in str(mail["subject"])]
    assert {str(mail["to"]) for mail in fired} >= {"ops@example.com"}
    assert str(fired[0]["subject"]) == f"[critical] {world.model}: lag.intake is 30 (firing)"
    text = fired[0].get_body(("plain",))
    assert text is not None
    assert "lag.intake is 30 (asked: > 10)" in text.get_content()
    assert world.statuses() == [("firing", "sent"), ("resolved", "sent")]


def test_a_name_cannot_write_a_header_of_a_mail(world: World, mail_server: MailServer) -> None:
    mailing(world, mail_server).rule(name="queue\r\nBcc: everybody@example.com\r\n\r\nhello")
    server = world.server()
    looks(world, server, 30)
    deliver(world, server)
    for mail in mail_server.mails:
        assert mail["bcc"] is None
        assert "\n" not in str(mail["subject"])
    assert world.statuses() == [("firing", "sent")]


def test_a_mail_server_that_is_away_is_asked_again(world: World) -> None:
    down = MailServer()
    mailing(world, down).rule()
    server = world.server()
    looks(world, server, 30)
    deliver(world, server)
    assert (world.deliveries()[0].status, world.deliveries()[0].error) == ("waiting", "no_connection")
    down.start()
    try:
        world.clock.advance(HOUR)
        deliver(world, server)
        assert world.statuses() == [("firing", "sent")]
    finally:
        down.stop()


def test_a_flood_is_told_to_people_in_one_message(world: World, mail_server: MailServer) -> None:
    """The last message of the hour says everything that waits."""
    mailing(world, mail_server)
    world.alerting["channels"][world.channel] |= {"max_per_hour": 3, "to": ["ops@example.com"]}
    flood(world, 12)
    server = world.server()
    looks(world, server, 100)
    for _ in range(4):
        deliver(world, server)
    assert [str(mail["subject"]) for mail in mail_server.mails][2:] == ["10 alerts: 10 firing or not known, 0 resolved"]
    assert len(mail_server.mails) == 3
    assert {one.status for one in world.deliveries()} == {"sent"}


def test_any_service_of_apprise_is_a_channel(world: World) -> None:
    """By its URL: json:// is one that can be had here."""
    world.alerting = {"channels": {world.channel: {"kind": "apprise", "url": {"env": "ANY"}}}}
    world.environment["ANY"] = f"json://127.0.0.1:{world.receiver.port}/any"
    world.rule()
    server = world.server()
    looks(world, server, 30)
    deliver(world, server)
    [got] = world.receiver.got
    assert "lag.intake is 30" in got.json["title"]


def test_an_address_that_no_service_has_is_refused(world: World) -> None:
    world.alerting = {"channels": {world.channel: {"kind": "slack", "url": {"env": "ANY"}}}}
    world.environment["ANY"] = "https://hooks.slack.com/elsewhere"
    found = world.server().test(world.channel)
    assert (found["delivered"], found["passing"]) == (False, False)


def test_apprise_is_loaded_when_it_is_used_and_not_before() -> None:
    """A server without such channels does not pay for it."""
    code = "import sys, upshot_server.app; print('apprise' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "False"
