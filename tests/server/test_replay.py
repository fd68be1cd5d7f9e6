"""`upshot replay` and its route, against the real server."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.running import RunningServer


def test_a_replay_counts_what_is_refused_again_and_changes_nothing_else(server: RunningServer) -> None:
    """A conflict stays one: over HTTP, and by the command line."""
    event = {"request_id": "r", "model": "m", "features": {"n": 1}}
    server.post("/v1/predictions", [event, {**event, "prediction": 1}, {"request_id": "s", "model": ""}])
    asked = server.post("/v1/quarantine/replay", {"model": "m"})
    assert asked.json() == {
        "found": 1,
        "replayed": 0,
        "refused": {"conflict": 1},
        "unfit": {},
        "next": None,
        "dry_run": False,
    }
    command = [sys.executable, "-m", "upshot_server", "replay", "--url", server.url, "--code", "empty", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    told = json.loads(done.stdout)
    assert (told["found"], told["replayed"], told["refused"], told["from"]) == (1, 0, {"empty": 1}, "quarantine")
    refused = server.post("/v1/quarantine/replay", {"model": 1})
    assert (refused.status_code, refused.json()["errors"]) == (422, [{"loc": "model", "code": "wrong_type"}])
    assert server.http.get("/v1/models").json()["models"][0]["predictions"] == 1
