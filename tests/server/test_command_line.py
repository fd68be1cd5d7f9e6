"""The commands that talk to a running server, as a person and as a script use them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.running import RunningServer
from tests.waiting import eventually


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("commands")
    config = folder / "models.yaml"
    config.write_text("models:\n  shop/fraud:\n    labels: {label: {window: 1h}}\n    primary_label: label\n")
    running = RunningServer(folder / "data", "--config", str(config))
    running.start()
    start = datetime.now(UTC) - timedelta(days=2)
    events = [
        {
            "request_id": f"r{n}",
            "model": "shop/fraud",
            "prediction": (n % 100) / 100,
            "predicted_at": (start + timedelta(minutes=n)).isoformat(),
            "features": {"amount": float(n % 37), "country": "DE" if n % 3 else "FR"},
        }
        for n in range(600)
    ]
    assert running.post("/v1/predictions", events).json()["accepted"] == 600
    assert running.post("/v1/labels", [{"request_id": f"r{n}", "value": n % 2} for n in range(600)]).status_code == 200
    running.until_joined()
    yield running
    running.end()


def upshot(server: RunningServer, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command against the server."""
    return subprocess.run(
        [sys.executable, "-m", "upshot_server", *words, "--url", server.url],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def test_the_configuration_file_is_applied_at_start(server: RunningServer) -> None:
    config = server.http.get("/v1/models/shop/fraud").json()["config"]
    assert config["labels"]["label"]["window"] == "1h"


def test_export_waits_and_prints_what_was_made(server: RunningServer) -> None:
    done = upshot(server, "export", "--model", "shop/fraud", "--destination", "first/try")
    assert done.returncode == 0, done.stderr
    assert "600 rows (600 labelled)" in done.stdout
    assert (server.data / "exports/first/try/manifest.json").exists()
    again = upshot(server, "export", "--model", "shop/fraud", "--destination", "first/try")
    assert again.returncode == 1
    assert "holds something already" in again.stderr
    for overlapping in ("first/try/again", "first"):
        assert upshot(server, "export", "--model", "shop/fraud", "--destination", overlapping).returncode == 1


def test_an_export_of_a_model_that_never_served_has_no_rows(server: RunningServer) -> None:
    assert server.http.put("/v1/models/quiet", json={}).status_code == 200
    manifest = server.export(model="quiet")["manifest"]
    assert (manifest["rows"], manifest["states"], manifest["files"][0]["rows"]) == (0, {}, 0)


def test_verify_counts_again_and_says_what_it_found(server: RunningServer) -> None:
    done = upshot(server, "verify", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["status"], found["outcomes"]["checked"], found["predictions"]["checked"]) == ("done", 600, 600)
    assert [found[what]["wrong"] for what in ("outcomes", "orphans", "predictions")] == [0, 0, 0]
    told = upshot(server, "verify", "--model", "shop/fraud", "--since", "2020-01-01T00:00:00Z")
    assert (told.returncode, "outcomes: 600 looked at, 0 wrong, 0 repaired" in told.stdout) == (0, True), told.stderr
    assert "No prediction and no configuration" in upshot(server, "verify", "--model", "nobody").stderr
    assert server.http.get("/v1/status").json()["verifier"]["rounds"] == 2


def test_export_prints_one_json_document_and_nothing_else(server: RunningServer) -> None:
    done = upshot(server, "export", "--model", "shop/fraud", "--json")
    assert json.loads(done.stdout)["manifest"]["rows"] == 600
    assert done.stderr == ""


def test_a_report_is_made_by_evidently_in_a_process_of_its_own(server: RunningServer, tmp_path: Path) -> None:
    reference = tmp_path / "train.parquet"
    rows = range(2000)
    pq.write_table(
        pa.table({"amount": [float(n % 91) for n in rows], "country": ["DE" if n % 2 else "FR" for n in rows]}),
        reference,
    )
    added = upshot(server, "reference", "add", str(reference), "--model", "shop/fraud")
    assert added.returncode == 0, added.stderr
    assert "2,000 rows" in added.stdout

    def drifted() -> bool:
        found = server.http.get("/v1/models/shop/fraud/skew").json()["features"]
        return any(one["feature"] == "amount" and one["verdict"] == "drift" for one in found)

    assert eventually(drifted, 30)
    done = upshot(server, "report", "--model", "shop/fraud", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["status"] == "done"
    page = server.http.get(f"/v1/reports/{found['id']}/html")
    assert page.status_code == 200
    assert "sandbox" in page.headers["content-security-policy"]
    assert "amount" in page.text


def test_errors_are_one_line_and_a_status(server: RunningServer) -> None:
    unknown = upshot(server, "export", "--model", "nobody")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr.strip() == "upshot: No prediction and no configuration of this model is known."
    away = subprocess.run(
        [sys.executable, "-m", "upshot_server", "report", "--model", "m", "--url", "http://127.0.0.1:9"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert away.returncode == 1
    assert "start one with `upshot up`" in away.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_quietly(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and a supervisor's stop: status 0, no traceback, and the data is there at the next start."""
    running = RunningServer(tmp_path / "data")
    running.start()
    assert running.post("/v1/predictions", {"request_id": "r", "model": "m"}).json()["accepted"] == 1
    assert running.signalled(number) == 0
    assert "Traceback" not in running.log
    running.start()
    assert running.story("r")["predictions"]
    running.end()


def test_what_cannot_be_served_is_said_at_once(server: RunningServer, tmp_path: Path) -> None:
    """A folder in use, a port in use, an address that others could reach."""
    for options, said in (
        (["--data", str(server.data), "--port", "0"], "has this data folder open; stop it"),
        (["--data", str(tmp_path), "--port", str(server.port)], "Address already in use"),
        (["--data", str(tmp_path), "--host", "0.0.0.0"], "127.0.0.1 only"),  # noqa: S104  # it must be refused
        (["--data", str(tmp_path), "--config", str(tmp_path / "none.yaml")], "cannot be read"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "upshot_server", "up", *options],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1, done.stdout + done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
