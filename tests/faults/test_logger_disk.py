"""Disks that refuse, fill up, vanish or rot under the spool (rows F04 to F07, F36 and F39)."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import upshot
from tests.faults.judging import SERVICE, built_shim, is_empty, judge, lives
from tests.faults.logger_service import Board, Job, features
from tests.logger.collector import Collector, Reply, balance, eventually

# ---- F04 -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_failures", [1, 2])
def test_a_sync_that_fails_costs_nothing_that_was_called_safe(
    n_failures: int, tmp_path: Path, collector: Collector
) -> None:
    """F04: at each of the first twenty syncs, the unsynced bytes gone as after a real one; that file is never synced again."""
    shim = built_shim(tmp_path)
    collector.always = Reply(503)
    jobs: list[Job] = [
        {
            "board": str(tmp_path / f"board{n}"),
            "prefix": f"s{n}",
            "options": {"url": collector.url, "spool_dir": str(tmp_path / f"spool{n}"), "flush_interval_s": 60},
            "env": {
                "SHIM_PATH": ".seg",
                "SHIM_SYNC_AT": str(n),
                "SHIM_SYNC_TIMES": str(n_failures),
                "SHIM_LOG": str(tmp_path / f"log{n}"),
            },
            "sync_every_call": True,
            "n": 25,
        }
        for n in range(1, 21)
    ]
    ended = lives(jobs, tmp_path, shim)
    collector.always = Reply()
    for n, (job, end) in enumerate(zip(jobs, ended, strict=True), 1):
        assert (end["stats"]["accepted"], end["stats"]["dropped"], balance(end["stats"])) == (25, 0, 0)
        assert end["stats"]["spool_errors"] == n_failures, (
            n,
            end,
            Board(Path(job["board"])).synced,
            (tmp_path / f"log{n}").read_text(),
        )
        with upshot.Logger(**{**job["options"], "model": "m", "flush_interval_s": 0.02}) as heir:
            heir.log_prediction({}, 0, request_id=f"heir{n}")
            eventually(lambda spool=tmp_path / f"spool{n}": is_empty(spool))
            eventually(lambda heir=heir: heir.flush(5))
        board = Board(Path(job["board"]))
        judge(board, job["prefix"], collector.predictions, survives="bad disk")
        assert board.synced >= (n - 1)
        assert n_failures == 2 or board.synced == 25
        synced = [line.split() for line in (tmp_path / f"log{n}").read_text().splitlines()]
        for at, (inode, is_done) in enumerate(synced):
            assert is_done == "1" or inode not in {later for later, _ in synced[at + 1 :]}


# ---- F05, F06 ------------------------------------------------------------------------------------------------------------


class Service:
    """The service in a process of its own, with a small disk of its own where the system allows that."""

    def __init__(self, folder: Path, job: Job, tmpfs: str = "", shim: Path | None = None) -> None:
        self.disk = folder / "disk"
        self.disk.mkdir()
        self.board = Board(Path(job["board"]))
        (folder / "jobs.json").write_text(json.dumps([job]))
        command = [sys.executable, str(SERVICE), str(folder / "jobs.json")]
        if tmpfs:
            mounted = f'mount -t tmpfs -o {tmpfs} upshot-test "$0" && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", mounted, str(self.disk), *command]
        env = {**os.environ, **({"LD_PRELOAD": str(shim)} if shim else {})}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    def remounts(self, options: str) -> None:
        """Change the disk, as its administrator does."""
        command = ["nsenter", "-t", str(self._process.pid), "-m", "mount", "-o", f"remount,{options}", str(self.disk)]
        subprocess.run(command, check=True)

    def stats(self) -> dict[str, int]:
        """The counters at its end."""
        out, error = self._process.communicate(timeout=120)
        assert self._process.returncode == 0, error
        assert "Traceback" not in error, error
        found: dict[str, int] = json.loads(out)["stats"]
        return found


@pytest.fixture
def may_mount(tmp_path: Path) -> None:
    """Skips where this system lets nobody mount; `test_a_file_that_may_not_grow` fills a disk everywhere."""
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=1m", "upshot-test", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a disk needs root")


@pytest.mark.usefixtures("may_mount")
def test_a_full_disk_costs_the_newest_events_and_each_is_counted(tmp_path: Path, collector: Collector) -> None:
    """F05: 4 MiB of disk, then memory, then nothing more; when there is room again, it goes on within five seconds."""
    collector.always = Reply(503)
    job: Job = {
        "board": str(tmp_path / "board"),
        "prefix": "full",
        "options": {
            "url": collector.url,
            "spool_dir": str(tmp_path / "disk" / "spool"),
            "flush_interval_s": 0.1,
            "queue_max_bytes": 4 * 1024 * 1024,
        },
        "rate_per_s": 300,
        "text_bytes": 80_000,
        "n": 3300,
        "flush_s": 60,
    }
    service = Service(tmp_path, job, tmpfs="size=4m")
    eventually(lambda: service.board.accepted >= 1500, 60)
    service.remounts("size=400m")
    grown_at = service.board.accepted
    collector.always = Reply()
    stats = service.stats()
    assert (stats["accepted"], balance(stats)) == (3300, 0)
    arrived = {int(event.request_id[5:]) for event in collector.predictions}
    assert len(arrived) == 3300 - stats["dropped"] == stats["stored"] + stats["duplicates"]
    assert stats["dropped"] == stats["dropped_spool_full"] > 200
    assert arrived > set(range(800)), "what came first is kept"
    again_from = min(i for i in arrived if i >= max(set(range(grown_at)) - arrived))
    assert service.board.time_of(again_from) - service.board.time_of(grown_at) <= 5.5
    assert arrived > set(range(again_from, 3300))
    assert service.board.calm_p999_s(0, 3300, 300) <= 0.001
    assert stats["grown_kb"] <= 96 * 1024, "32 MB of events in memory, the queue, and what is being packed"
    lost = {event.request_id: event.features for event in collector.predictions}
    assert all(found == features("full", int(name[5:]), 80_000) for name, found in lost.items())


@pytest.mark.parametrize("kind", ["read-only", "errors"])
def test_a_disk_that_takes_nothing_for_a_while_costs_nothing(
    kind: str, tmp_path: Path, collector: Collector, request: pytest.FixtureRequest
) -> None:
    """F06: the disk is read-only, or every write fails: events wait in memory, and arrive."""
    shim = None
    collector.always = Reply(503)
    job: Job = {
        "board": str(tmp_path / "board"),
        "prefix": "ro",
        "options": {"url": collector.url, "spool_dir": str(tmp_path / "disk" / "spool"), "flush_interval_s": 0.1},
        "rate_per_s": 1000,
        "n": 3000,
        "flush_s": 30,
    }
    if kind == "read-only":
        request.getfixturevalue("may_mount")
    else:
        shim = built_shim(tmp_path)
        job["env"] = {"SHIM_PATH": ".seg", "SHIM_WRITE_ERRNO": str(errno.EIO)}
    service = Service(tmp_path, job, tmpfs="size=8m,ro" if shim is None else "", shim=shim)
    eventually(lambda: service.board.accepted >= 1500, 60)
    if shim is None:
        service.remounts("rw")
    collector.always = Reply()
    stats = service.stats()
    assert (stats["accepted"], stats["dropped"], balance(stats)) == (3000, 0, 0)
    assert stats["spool_errors"] >= 1 or shim is None
    assert judge(service.board, "ro", collector.predictions, survives="bad disk").n_events == 0
    assert service.board.calm_p999_s(0, 3000) <= 0.001
    assert stats["grown_kb"] <= 64 * 1024
