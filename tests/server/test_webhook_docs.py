"""Every example of docs/webhooks.md runs as it is printed, one after the other, against the server that it starts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.running import RunningServer
from upshot_joiner.intake.webhooks.source import read_source

PAGE = (Path(__file__).parents[2] / "docs/webhooks.md").read_text("utf-8")
[YAML] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
SHELL: list[str] = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


def run(example: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_every_source_of_the_page_is_valid() -> None:
    sources = yaml.safe_load(YAML)["hooks"]
    assert [read_source(source).signature.scheme for source in sources.values()] == ["stripe", "github", "none"]


def test_the_examples_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`upshot up` is started by the test, with the variables that the page exports and the file that it shows."""
    (tmp_path / "hooks.yaml").write_text(YAML)
    server = RunningServer(tmp_path / "data", "--config", str(tmp_path / "hooks.yaml"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("UPSHOT_URL", server.url)
    answers: list[str] = []
    started = False
    for example in SHELL:
        setup = [line for line in example.splitlines() if not line.startswith("upshot up")]
        for exported in (line for line in setup if line.startswith("export ")):
            for name, value in re.findall(r"(\w+)=(\S+)", exported):
                monkeypatch.setenv(name, str(tmp_path / value) if name.endswith("_FILE") else value)
        if "UPSHOT_LABEL_AUTH" in example:
            answers.append(run("\n".join(setup), tmp_path, dict(os.environ)))
            # One server serves the whole page: started once the second file of variables is there too.
            continue
        if "STRIPE_WEBHOOK_SECRET=" in example:
            server.start()
            started = True
            continue
        if not started:
            signed = example
            continue
        answers.append(run(example, tmp_path, dict(os.environ)))
    try:
        answers.append(run(signed, tmp_path, dict(os.environ)))
        [_, stripe, github, previews, replayed, labels] = answers
        assert json.loads(stripe)["accepted"] == json.loads(github)["accepted"] == json.loads(labels)["accepted"] == 1
        first, second, whole = previews.splitlines()
        assert [json.loads(line)["label_id"] for line in (first, second)] == ["returns:981/0", "returns:981/1"]
        assert [event["value"] for event in json.loads(whole)["events"]] == [True, False]
        state, told = replayed.split("}0 bodies", 1) if "}0 bodies" in replayed else (replayed, "")
        assert json.loads(state + "}")["counts"]["received"] == 0
        assert told.startswith(" mapped")
        events = {event["name"]: event["value"] for event in server.story("order-18")["label_events"]}
        assert events == {"chargeback": 1, "correct": False}
        assert server.post("/v1/labels", {"request_id": "unsigned", "value": 1}).status_code == 401
    finally:
        server.end()
