"""The whole demo, as a user runs it, with few flights."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from tests.waiting import eventually

FLIGHTS = 3_000
BEFORE_OCTOBER = 2_010  # of the 3,000, give or take the start of the sample

pytestmark = [pytest.mark.demo, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "data"


def command(folder: Path, *arguments: str) -> tuple[list[str], int]:
    """``upshot demo`` on a free port, and the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    upshot = str(Path(sys.executable).with_name("upshot"))
    return [upshot, "demo", *arguments, "--flights", str(FLIGHTS), "--port", str(port), "--data", str(folder)], port


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    """The report of one run of ``upshot demo``."""
    arguments, _ = command(folder, "--once", "--json")
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=380, check=False)
    assert ended.returncode == 0, ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def test_every_flight_is_one_prediction_and_one_more_per_shadow(report: dict[str, Any]) -> None:
    replayed, autumn = report["flights"]["replayed"], report["comparison"]["rows"]
    assert replayed == FLIGHTS
    predictions = report["labels"]["predictions"]
    assert replayed + autumn <= predictions <= replayed + (FLIGHTS - report["export"]["manifest"]["rows"])
    assert report["sdk"]["stored"] == predictions
    assert report["sdk"]["dropped"] == report["sdk"]["rejected"] == 0


def test_the_export_is_april_to_september_with_the_last_flights_still_in_the_air(
    report: dict[str, Any], folder: Path
) -> None:
    manifest = report["export"]["manifest"]
    assert manifest["rows"] == pytest.approx(BEFORE_OCTOBER, abs=60)
    assert sum(manifest["states"].values()) == manifest["rows"]
    assert manifest["states"]["labelled"] >= 0.95 * manifest["rows"]
    location = Path(report["export"]["location"])
    assert location.is_relative_to(folder)
    assert json.loads((location / "manifest.json").read_text())["sha256"] == manifest["sha256"]
    tables = [pq.read_table(location / file["path"]) for file in manifest["files"]]
    assert sum(table.num_rows for table in tables) == manifest["rows"]
    assert {version for table in tables for version in table["model_version"].to_pylist()} == {"1"}


def test_the_training_set_made_again_in_january_is_the_same(report: dict[str, Any]) -> None:
    assert report["export"]["again"]["same"]
    assert report["export"]["again"]["sha256"] == report["export"]["manifest"]["sha256"]


def test_every_flight_that_landed_is_joined(report: dict[str, Any]) -> None:
    """97 of 100 flights land where they were to; nothing waits and nothing is left over when the year is done."""
    labels = report["labels"]
    assert labels["labelled"] / labels["predictions"] > 0.95
    assert labels["pending"] < 0.05 * labels["predictions"]
    assert labels["orphans"] == 0
    assert 1.0 < labels["delay_s"]["p50"] / 3600 < 24.0


def test_the_feeds_repeats_are_recognized(report: dict[str, Any]) -> None:
    accepted, duplicates = report["webhook"]["accepted"], report["webhook"]["duplicates"]
    assert accepted >= 0.97 * FLIGHTS
    assert duplicates / accepted == pytest.approx(0.03, abs=0.015)


def test_version_two_learned_from_the_labelled_rows_of_the_export(report: dict[str, Any]) -> None:
    assert report["training"]["2"]["rows"] == report["export"]["manifest"]["states"]["labelled"]


def test_both_versions_are_compared_on_the_same_flights_with_an_interval(report: dict[str, Any]) -> None:
    comparison = report["comparison"]
    assert comparison["rows"] == pytest.approx(0.97 * (FLIGHTS - BEFORE_OCTOBER), rel=0.05)
    difference = comparison["difference"]
    assert difference["low"] < difference["value"] < difference["high"]
    assert difference["value"] == pytest.approx(comparison["second"]["value"] - comparison["first"]["value"])
    assert comparison["verdict"] in ("better", "worse", "undecided")


def test_upshots_own_comparison_is_that_of_the_export(report: dict[str, Any]) -> None:
    """One from the store, one from Parquet files: the same rows, the same answer."""
    own, exported = report["comparison_by_upshot"], report["comparison"]
    assert own["rows"] == exported["rows"]
    assert own["difference"]["value"] == pytest.approx(exported["difference"]["value"], abs=1e-9)
    assert own["values"]["a"]["value"] == pytest.approx(exported["first"]["value"], abs=1e-9)


def test_the_weather_was_served_an_hour_older_than_trained(report: dict[str, Any]) -> None:
    assert report["weather_skew"]["temp"]["different"] > 0.5


def test_the_live_display_got_an_answer_to_every_question(report: dict[str, Any]) -> None:
    assert report["trouble"] == []


def test_nothing_is_left_running(report: dict[str, Any]) -> None:
    """Nobody listens on the dashboard's port any more."""
    host, port = report["dashboard"].removeprefix("http://").strip("/").split(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0


def answers(port: int) -> bool:
    """Whether the dashboard answers."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_the_page_answers_at_once_and_ctrl_c_ends_everything(tmp_path: Path) -> None:
    """The page is there while the model is still being trained, and an interrupt then leaves no process behind."""
    arguments, port = command(tmp_path / "data")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
        eventually(lambda: answers(port), timeout_s=60)
        children = [int(pid) for pid in Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()]
        assert children
        demo.send_signal(signal.SIGINT)
        output, _ = demo.communicate(timeout=40)
    assert output.splitlines()[-1] == "Ended."
    eventually(lambda: not answers(port), timeout_s=5)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), timeout_s=10)


def test_a_port_in_use_is_said_at_once(tmp_path: Path) -> None:
    arguments, port = command(tmp_path / "data")
    with socket.create_server(("127.0.0.1", port)):
        ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert f"port {port} is in use" in ended.stdout
