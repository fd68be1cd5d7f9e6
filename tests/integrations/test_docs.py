"""Every example of docs/integrations.md runs as it is printed, each where a user would run it: in a folder of its own."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require
from tests.logger.collector import Collector
from tests.ports import free_port
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
FEAST = ROOT / ".venv-feast/bin/python"
PAGE = (ROOT / "docs/integrations.md").read_text("utf-8")
SECTIONS = {
    part.split("\n", 1)[0].split(",")[0]: re.findall(r"```(python|sh)\n(.*?)```", part, re.DOTALL)
    for part in PAGE.split("\n## ")[1:]
}


def blocks(section: str, language: str) -> list[str]:
    """The examples of a section."""
    return [text for kind, text in SECTIONS[section] if kind == language]


@pytest.fixture
def environment(collector: Collector, tmp_path: Path) -> dict[str, str]:
    """That of a user whose server is the collector, and whose MLflow keeps everything in one folder."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "UPSHOT_URL": collector.url,
        "UPSHOT_FLUSH_INTERVAL_S": "0.05",
        "MLFLOW_TRACKING_URI": f"file://{tmp_path}/mlruns",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "FEAST_USAGE": "False",
    }


def run(example: str, folder: Path, environment: dict[str, str], python: Path | str = sys.executable) -> str:
    """Run it to its end; what it printed."""
    done = subprocess.run(
        [python, "-c", example], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def answer_of(commands: str, folder: Path, environment: dict[str, str]) -> str:
    """Start the server of the first line, on a free port; what the command of the second line prints once it is up."""
    [serve, ask] = commands.strip().split("\n")
    [port] = re.findall(r"--port (\d+)", serve)
    free = str(free_port())
    with (folder / "served.log").open("wb") as log:
        serving = subprocess.Popen(
            shlex.split(serve.replace(port, free)),
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def asked() -> str:
        assert serving.poll() is None, (folder / "served.log").read_text()
        command = shlex.split(ask.replace(f":{port}", f":{free}"))
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout

    try:
        return eventually(asked, 90, 0.2)
    finally:
        time.sleep(0.1)  # what was logged is sent within 0.05 s
        os.killpg(serving.pid, signal.SIGTERM)
        serving.wait(30)


def test_every_example_is_run_here():
    """A new example must not go untested."""
    counts = {section: [kind for kind, _ in examples] for section, examples in SECTIONS.items()}
    assert {section: kinds for section, kinds in counts.items() if section != "KServe"} == {
        "FastAPI": ["python", "sh"],
        "scikit-learn": ["python"],
        "MLflow": ["python", "python", "sh"],
        "Feast": ["python"],
    }


def test_fastapi(collector, tmp_path, environment):
    (tmp_path / "service.py").write_text(blocks("FastAPI", "python")[0])
    answer = answer_of(blocks("FastAPI", "sh")[0], tmp_path, environment)
    assert "x-request-id: order-17" in answer
    assert '{"risk":0.25,"request_id":"order-17"}' in answer
    [event] = collector.predictions
    assert (event.request_id, event.model, event.model_version) == ("order-17", "fraud", "12")
    assert (event.features, event.prediction, event.tags) == ({"amount": 250}, 0.25, {"channel": "web"})


def test_scikit_learn(collector, tmp_path, environment):
    printed = run(blocks("scikit-learn", "python")[0], tmp_path, environment)
    assert "'stored': 22" in printed
    events = collector.predictions
    assert {(p.model, p.model_version) for p in events} == {("tumours", "1")}
    assert [p.request_id for p in events[10:]] == ["patient-1", "patient-2"]
    assert [label.request_id for label in collector.labels] == [p.request_id for p in events[:10]]
    assert "mean radius" in events[0].features
    assert set(events[0].probabilities) == {"0", "1"}


def test_mlflow_in_a_service(collector, tmp_path, environment):
    run(blocks("MLflow", "python")[0], tmp_path, environment)
    events = collector.predictions
    assert [(p.model, p.model_version, p.request_id, p.prediction) for p in events] == [
        ("iris", "1", "flower-1", 0),
        ("iris", "1", "flower-2", 0),
    ]


def test_mlflow_as_the_server(collector, tmp_path, environment):
    run(blocks("MLflow", "python")[1], tmp_path, environment)
    answer = answer_of(blocks("MLflow", "sh")[0], tmp_path, environment)
    assert answer.startswith('{"predictions": [[')
    [event] = collector.predictions
    assert (event.model, event.model_version, event.prediction) == ("flowers", "1", 0)
    assert event.features["petal width (cm)"] == 0.2


def test_feast(collector, tmp_path, environment):
    require("Feast", FEAST.exists(), "make .venv-feast/.installed")
    environment["PYTHONPATH"] = str(ROOT / "logger")
    printed = run(blocks("Feast", "python")[0], tmp_path, environment, FEAST)
    events: list[Any] = collector.predictions
    assert [p.features for p in events] == [{"trips": 7, "rate": 0.5}, {"trips": 0, "rate": None}, {}]
    assert [p.tags["feast_status"] for p in events] == ["PRESENT", "PRESENT", "NOT_FOUND"]
    assert all(p.request_id in printed for p in events)
