"""Children of the demo: they end when asked, when the demo is killed, and not silently."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import eventually
from upshot_server.demo.folder import fresh
from upshot_server.demo.processes import DemoError, child_process

CHILD = """
import time
from upshot_server.demo.processes import end_with_parent
end_with_parent()
print("up", flush=True)
time.sleep(600)
"""

PARENT = """
import sys, time
from pathlib import Path
from upshot_server.demo.processes import Child
child = Child("child", Path(sys.argv[1]))
child.start("child_module", [])
print(child.pid, flush=True)
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def child_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that runs until it is ended; importable by children."""
    (tmp_path / "child_module.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "child_module"


def test_a_child_ends_when_it_is_stopped(child_module: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with child_process("child", log) as child:
        child.start(child_module, [])
        eventually(lambda: "up" in log.read_text())
        child.check()
        assert is_alive(child.pid)
    assert not is_alive(child.pid)
    with pytest.raises(DemoError, match="the child ended with status"):
        child.check()


def test_a_child_ends_when_its_parent_is_killed(child_module: str, tmp_path: Path) -> None:
    """kill -9 of the demo leaves nothing behind."""
    log = tmp_path / "log"
    with subprocess.Popen([sys.executable, "-c", PARENT, str(log)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        eventually(lambda: "up" in log.read_text())
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        eventually(lambda: not is_alive(pid))


def test_the_last_words_of_a_child_that_died_are_told(tmp_path: Path) -> None:
    with child_process("server", tmp_path / "log") as child:
        child.start("no.such.module", [])

        def has_ended() -> bool:
            try:
                child.check()
            except DemoError as error:
                return "the server ended with status 1" in str(error) and "No module named" in str(error)
            return False

        eventually(has_ended)


def test_a_folder_of_an_earlier_demo_is_emptied(tmp_path: Path) -> None:
    with fresh(tmp_path / "demo") as first:
        (first.models / "old").touch()
        first.log("server").touch()
    with fresh(tmp_path / "demo") as second:
        assert list(second.models.iterdir()) == []
        assert not second.log("server").exists()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DemoError, match="was not made by the demo"), fresh(tmp_path):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_folder_of_a_running_demo_is_left_alone(tmp_path: Path) -> None:
    with fresh(tmp_path / "demo") as running:
        (running.models / "in use").touch()
        with pytest.raises(DemoError, match="another demo is running"), fresh(tmp_path / "demo"):
            pass
        assert (running.models / "in use").exists()
