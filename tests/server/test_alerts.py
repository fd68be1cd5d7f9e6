"""Alerts of the real server: from a row to a message, over a kill; and the commands about them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from tests.monitoring.alerts.receivers import HttpReceiver
from tests.running import RunningServer
from tests.waiting import eventually
from upshot_joiner.clock import SystemClock
from upshot_joiner.config import read_config
from upshot_joiner.errors import Problem
from upshot_joiner.intake.webhooks import standard
from upshot_monitoring.alerts import rules
from upshot_monitoring.alerts.settings import read_alerting
from upshot_server.cli import app

SECRET = standard.new_secret()
DAILY = "traffic.predictions[window=24h]"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def receiver() -> Iterator[HttpReceiver]:
    started = HttpReceiver().start()
    yield started
    started.stop()


def running(folder: Path) -> RunningServer:
    """A server with a rule that fires until there are 50 predictions."""
    secret = folder / "secret"
    secret.write_text(f"{SECRET}\n")
    config = {
        "alerting": {
            "every": "1s",
            "link": "https://upshot.example.com",
            "channels": {
                "ops": {"kind": "webhook", "url": {"env": "TEST_ALERT_URL"}, "secrets": [{"file": str(secret)}]},
                "nowhere": {"kind": "slack", "url": {"env": "TEST_ALERT_NOWHERE"}},
            },
        },
        "models": {"shop/fraud": {"alerts": [{"name": "quiet", "when": f"{DAILY} < 50", "to": ["ops"]}]}},
    }
    file = folder / "models.yaml"
    file.write_text(yaml.safe_dump(config))
    made = RunningServer(folder / "data", "--config", str(file))
    made.start()
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, receiver: HttpReceiver) -> Iterator[RunningServer]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TEST_ALERT_URL", f"{receiver.url}/hidden-part-of-the-url")
        made = running(tmp_path_factory.mktemp("alerts"))
        yield made
        made.end()


def log(server: RunningServer, start: int, n: int) -> None:
    at = datetime.now(UTC) - timedelta(hours=3)
    events = [
        {
            "request_id": f"r{i}",
            "model": "shop/fraud",
            "predicted_at": at.isoformat(),
            "features": {"x": i},
            "prediction": 0.5,
        }
        for i in range(start, start + n)
    ]
    assert server.post("/v1/predictions", events).json()["accepted"] == n


def upshot(server: RunningServer, *words: str) -> Result:
    """Run a command against the server."""
    return CliRunner().invoke(app, [*words, "--url", server.url])


def test_an_alert_goes_out_over_a_restart_of_the_real_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver is away, the server is killed; both come back: firing once, and resolved once the rows are there."""
    receiver = HttpReceiver().start()
    monkeypatch.setenv("TEST_ALERT_URL", receiver.url)
    server = running(tmp_path)
    try:
        over_a_restart(server, receiver)
    finally:
        server.end()
        receiver.stop()


def over_a_restart(server: RunningServer, receiver: HttpReceiver) -> None:
    eventually(lambda: "firing" in receiver.kinds(), 60)
    log(server, 0, 100)
    eventually(lambda: receiver.kinds() == ["firing", "resolved"], 60)
    told = receiver.got[0].json["data"]
    assert (told["model"], told["rule"], told["figures"]["value"]) == ("shop/fraud", "quiet", 0)
    assert told["link"] == "https://upshot.example.com/models/shop%2Ffraud"
    secret = standard.read_secret(SECRET)
    for one in receiver.got:
        assert standard.verified_id([secret], one.headers, one.body, SystemClock().now()) is not None
    receiver.stop()
    config = {
        "alerts": [
            {"name": "busy", "when": "traffic.predictions[window=24h] > 50", "to": ["ops"], "severity": "critical"}
        ]
    }
    assert server.http.put("/v1/models/shop/fraud", json=config).status_code == 200

    def waits() -> bool:
        [rule] = server.http.get("/v1/models/shop/fraud/alerts").json()["rules"]
        return bool(rule["deliveries"] and rule["deliveries"][0]["error"] == "no_connection")

    eventually(waits, 60)
    server.kill()
    receiver.start()
    server.start()
    # The file is applied at each start: `busy` is gone, so its incident is told and over, and `quiet` does not fire.
    eventually(lambda: receiver.kinds() == ["firing", "resolved", "firing", "resolved"], 60)
    assert receiver.got[3].json["data"]["figures"]["note"] == "The rule was removed."


def test_what_the_api_says_holds_no_secret(server: RunningServer) -> None:
    log(server, 1000, 1)
    eventually(lambda: server.http.get("/v1/alerts").json()["evaluated_at"], 30)
    answers = [
        server.http.get(path).text
        for path in ("/v1/alerts", "/v1/status", "/v1/models/shop/fraud/alerts", "/v1/models/shop/fraud")
    ]
    for text in (*answers, server.log):
        assert SECRET not in text
        assert "hidden-part" not in text
    told = json.loads(answers[0])
    assert [(one["name"], one["kind"]) for one in told["channels"]] == [("nowhere", "slack"), ("ops", "webhook")]
    assert told["late"] is False


def test_check_is_an_exit_status_for_pipelines(server: RunningServer) -> None:
    """0 no rule fires, 1 one fires, 2 it cannot be said."""
    log(server, 2000, 60)

    def check(*rules_: str, model: str = "shop/fraud") -> tuple[int, str]:
        asked = [word for rule in rules_ for word in ("--rule", rule)]
        done = upshot(server, "check", "--model", model, *asked)
        return done.exit_code, done.stdout + done.stderr

    status, said = check(f"{DAILY} < 5")
    assert (status, said.startswith(f'ok       {DAILY} < 5: traffic.predictions[window="24h"] is ')) == (0, True)
    assert check(f"{DAILY} > 5", "drift.share > 0.3")[0] == 1
    status, said = check("drift.share > 0.3")
    assert (status, "unknown" in said, "no reference was uploaded" in said) == (2, True, True)
    status, said = check("drift.shar > 0.3")
    assert (status, "rules.0[0]: unknown_name" in said) == (2, True)
    assert check(model="nobody")[0] == 2
    assert check()[0] == 0, "the configured rule"
    done = upshot(server, "check", "--model", "shop/fraud", "--rule", "drift.share > 0.3", "--unknown-is-ok", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["verdict"] == "unknown"
    gone = CliRunner().invoke(app, ["check", "--model", "m", "--url", "http://127.0.0.1:9"])
    assert gone.exit_code == 2
    assert "no server answers" in gone.stderr


def test_channels_are_tried_and_rules_listed_and_muted(server: RunningServer) -> None:
    done = upshot(server, "alerts", "test", "ops")
    assert (done.exit_code, done.stdout) == (0, "delivered\n")
    done = upshot(server, "alerts", "test", "nowhere")
    assert (done.exit_code, done.stdout) == (1, "not delivered: secret_missing (it may pass)\n")
    assert upshot(server, "alerts", "test", "nobody").exit_code == 1
    eventually(lambda: server.http.get("/v1/models/shop/fraud/alerts").json()["rules"][0]["evaluated_at"], 30)
    muted = upshot(
        server, "alerts", "mute", "--model", "shop/fraud", "--rule", "quiet", "--for", "4h", "--reason", "tests"
    )
    assert muted.stdout.startswith("muted until")
    assert "shop/fraud: quiet" in upshot(server, "alerts", "list", "--model", "shop/fraud").stdout
    assert "(muted until" in upshot(server, "alerts", "list", "--model", "shop/fraud").stdout
    assert (
        upshot(server, "alerts", "mute", "--model", "shop/fraud", "--rule", "quiet", "--for", "0s").stdout
        == "not muted\n"
    )
    assert upshot(server, "alerts", "list").exit_code == 0


def test_a_rule_that_cannot_be_understood_is_refused_when_it_is_put(server: RunningServer) -> None:
    bad: dict[str, Any] = {
        "alerts": [{"when": "drift.share >", "to": ["ops"]}, {"when": "drift.share > 1", "to": ["opps"]}]
    }
    refused = server.http.put("/v1/models/shop/fraud", json=bad)
    assert refused.status_code == 422
    assert refused.json()["errors"] == [
        {"loc": "alerts.0.when[13]", "code": "unexpected_end"},
        {"loc": "alerts.1.to.0", "code": "unknown_channel"},
    ]


def test_the_examples_of_the_documentation_are_valid() -> None:
    """docs/alerts.md: its rules are understood, its channels are channels, and every name it lists can be asked for."""
    text = (ROOT / "docs/alerts.md").read_text("utf-8")
    example = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    alerting = read_alerting(example["alerting"])
    config = read_config(example["models"]["fraud"])
    rules.check(config, alerting.channels)
    from upshot_monitoring.alerts.names import NAMES

    listed = text.replace("skew.…", "skew.share skew.count skew.statistic skew.p_value skew.verdict")
    assert [name for name in NAMES if name not in listed] == []


@pytest.mark.parametrize(
    ("section", "loc"),
    [
        ({"channels": {"ops": {"kind": "pigeon"}}}, "alerting.channels.ops"),
        (
            {"channels": {"ops": {"kind": "slack", "url": "https://hooks.slack.com/x"}}},
            "alerting.channels.ops.slack.url",
        ),
        ({"channels": {"ops": {"kind": "slack", "url": {"env": "A", "file": "b"}}}}, "alerting.channels.ops.slack.url"),
        ({"channels": {"o p s": {"kind": "slack", "url": {"env": "A"}}}}, "alerting.channels.o p s.[key]"),
        ({"every": "0s"}, "alerting.every"),
        ({"link": "javascript:alert(1)"}, "alerting.link"),
        ({"heartbeat": {"every": "1m"}}, "alerting.heartbeat.url"),
    ],
)
def test_wrong_settings_are_named_with_their_place(section: dict[str, Any], loc: str) -> None:
    """A secret that is written where its name belongs is refused, and not repeated."""
    with pytest.raises(Problem) as error:
        read_alerting(section)
    assert loc in [place["loc"] for place in error.value.errors]
    assert "hooks.slack" not in str(vars(error.value))
