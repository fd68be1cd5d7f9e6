"""Two servers over one ClickHouse: one of them alerts, and the other goes on when it ends."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from tests.monitoring.alerts.receivers import HttpReceiver
from tests.running_clickhouse import RunningClickHouse
from tests.waiting import eventually
from upshot_joiner.clock import SystemClock
from upshot_joiner.intake.webhooks import standard
from upshot_server.parts import Parts
from upshot_server.settings import Settings

DAILY = "traffic.predictions[window=24h]"


def opened(folder: Path, name: str, clickhouse: str) -> Parts:
    """A server of its own, without the web."""
    file = folder / "alerting.yaml"
    channel = {"kind": "webhook", "url": {"env": "TEST_ALERT_URL"}, "secrets": [{"env": "TEST_ALERT_SECRET"}]}
    rule = {"name": "quiet", "when": f"{DAILY} < 3", "to": ["ops"]}
    config = {"alerting": {"every": "1s", "channels": {"ops": channel}}, "models": {"m": {"alerts": [rule]}}}
    file.write_text(yaml.safe_dump(config))
    return Parts.open(
        Settings(data_dir=folder / name, clickhouse=SecretStr(clickhouse), config_file=file), SystemClock()
    )


def test_of_two_servers_one_alerts_and_the_other_takes_over(
    tmp_path: Path, own_clickhouse: RunningClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both look at the same rule; what the first one told is resolved by the second, and nobody hears of anything twice."""
    receiver = HttpReceiver().start()
    monkeypatch.setenv("TEST_ALERT_URL", receiver.url)
    monkeypatch.setenv("TEST_ALERT_SECRET", standard.new_secret())
    own_clickhouse.start()
    a = opened(tmp_path, "a", own_clickhouse.url)
    b = opened(tmp_path, "b", own_clickhouse.url)
    try:
        eventually(lambda: receiver.kinds() == ["firing"], 60)
        assert a.alerts.answers.all()["firing"] == b.alerts.answers.all()["firing"] == 1
        eventually(lambda: "m" in b.alerts.answers.firing(), 30)
        a.close()
        at = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
        events = [{"request_id": f"r{i}", "model": "m", "predicted_at": at, "prediction": 0.5} for i in range(3)]
        received = b.receiver.decode_predictions(json.dumps(events).encode(), "application/json", "")
        assert b.receiver.submit_predictions(received).result(30).accepted == 3
        eventually(lambda: receiver.kinds() == ["firing", "resolved"], 60)
        assert b.alerts.answers.all()["late"] is False
    finally:
        b.close()
        receiver.stop()
