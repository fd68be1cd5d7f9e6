"""How the tests run ``upshot labels``: as it is typed, with a state folder of its own; where it is killed, in its own process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from upshot_server.cli import app

LEDGER = Path(__file__).with_name("ledger.py")


class Commands:
    """Runs commands against one server, in one folder."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder

    @property
    def state_folder(self) -> Path:
        """Where a load notes how far it is."""
        return self.folder / "state/upshot/labels"

    def run(self, *words: str | Path, stdin: bytes = b"", url: str = "", **variables: str) -> Done:
        """Run ``upshot labels ...`` to its end, in this process: starting one takes longer than most of them do."""
        with contextlib.chdir(self.folder):
            done = CliRunner().invoke(
                app, ["labels", *map(str, words)], input=stdin, env=self._environment(url, variables)
            )
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)

    def start(self, *words: str | Path, url: str = "", **variables: str) -> subprocess.Popen[bytes]:
        """Start ``upshot labels ...`` in a process of its own."""
        return subprocess.Popen(
            self._command(words), cwd=self.folder, env={**os.environ, **self._environment(url, variables)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def _command(self, words: tuple[str | Path, ...]) -> list[str]:
        return [sys.executable, "-m", "upshot_server", "labels", *map(str, words)]

    def _environment(self, url: str, variables: dict[str, str]) -> dict[str, str]:
        state = str(self.folder / "state")
        return {"UPSHOT_URL": url or self.url, "XDG_STATE_HOME": state, **variables}


class Done:
    """What a command answered."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err
        assert "Traceback" not in err, err

    @property
    def json(self) -> dict[str, Any]:
        """Its one document."""
        assert self.out, self.err
        found: dict[str, Any] = json.loads(self.out)
        return found


def counts(found: dict[str, Any]) -> dict[str, int]:
    """The five counts of a summary."""
    return {name: found[name] for name in ("read", "accepted", "duplicates", "rejected", "skipped")}


def ledger(data: Path) -> list[list[str]]:
    """Every label event of a data folder that no server has open: request, item, model, name, op, kind, value, time, source."""
    done = subprocess.run([sys.executable, LEDGER, data], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def kill(process: subprocess.Popen[bytes]) -> None:
    """kill -9, and wait."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


def rejected_lines(file: Path) -> list[dict[str, Any]]:
    """A list of rejected rows."""
    return [json.loads(line) for line in file.read_text().splitlines()]
