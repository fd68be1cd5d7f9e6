"""Disks that refuse, fill up, vanish or rot under the spool (rows F04 to F07, F36 and F39)."""

from __future__ import annotations

from pathlib import Path

import pytest

import upshot
from tests.faults.judging import built_shim, is_empty, judge, lives
from tests.faults.logger_service import Board, Job
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
