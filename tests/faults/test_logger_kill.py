"""kill -9 of a service that logs (rows F01 and F02): what was spooled arrives, and a loss is a gap of its exact size."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

import upshot
from tests.faults.judging import built_shim, is_empty, judge, lives
from tests.faults.logger_service import Board, Job
from tests.logger.collector import Collector, Reply, balance, eventually

KILLS = 60


@pytest.mark.parametrize("server", ["answers", "refuses"])
def test_a_killed_service_loses_at_most_what_it_logged_in_the_last_moment(
    server: str, tmp_path: Path, spool_dir: Path
) -> None:
    """F01: thirty kills each, 0 to 250 ms after a promise, at 3,000 calls a second; also while others' remains are sent."""
    rng = random.Random(1)
    with Collector() as collector:
        if server == "refuses":
            collector.always = Reply(503)
        jobs: list[Job] = [
            {
                "board": str(tmp_path / f"board{k}"),
                "prefix": f"k{k}",
                "options": {"url": collector.url, "flush_interval_s": 0.05},
                "kill_after_s": rng.uniform(0, 0.25),
            }
            for k in range(KILLS // 2)
        ]
        ended = lives(jobs, tmp_path)
        assert [end["status"] for end in ended] == [-signal.SIGKILL] * len(jobs)
        collector.always = Reply()
        with upshot.Logger(url=collector.url, model="m", flush_interval_s=0.05) as heir:
            heir.log_prediction({}, 0, request_id="heir")
            eventually(lambda: is_empty(spool_dir), 60)
            assert heir.flush(10)
            stats = heir.stats()
            assert balance(stats) == 0
            assert stats["dropped"] == stats["rejected"] == 0
        losses = [judge(Board(Path(job["board"])), job["prefix"], collector.predictions) for job in jobs]
    assert sum(Board(Path(job["board"])).spooled for job in jobs) > 1000
    assert max(loss.n_events for loss in losses) <= 1000
    in_order = sorted(loss.lasted_s for loss in losses)
    assert in_order[len(in_order) // 2] <= 0.05, "on a busy machine the thread that writes may be late now and then"
    assert any(loss.n_events for loss in losses), "no kill hit an event in memory: the run says nothing"


def test_a_service_killed_inside_a_write_loses_that_write_alone(tmp_path: Path) -> None:
    """F02: at each of the first fifty writes, after half its bytes or a few; one torn tail is counted and kept aside."""
    shim = built_shim(tmp_path)
    with Collector() as collector:
        collector.always = Reply(503)
        jobs: list[Job] = [
            {
                "board": str(tmp_path / f"board{n}"),
                "prefix": f"w{n}",
                "options": {"url": collector.url, "spool_dir": str(tmp_path / f"spool{n}"), "flush_interval_s": 60},
                "env": {"SHIM_PATH": ".seg", "SHIM_WRITE_AT": str(n)}
                | ({"SHIM_WRITE_BYTES": "10"} if n % 3 == 0 else {}),
                "sync_every_call": True,
            }
            for n in range(1, 51)
        ]
        ended = lives(jobs, tmp_path, shim)
        assert [end["status"] for end in ended] == [-signal.SIGKILL] * 50
        collector.always = Reply()
        for n, job in enumerate(jobs, 1):
            with upshot.Logger(**{**job["options"], "model": "m", "flush_interval_s": 0.02}) as heir:
                heir.log_prediction({}, 0, request_id=f"heir{n}")
                eventually(lambda heir=heir: heir.stats()["spool_torn"])
                eventually(lambda heir=heir: heir.flush(5))
                stats = heir.stats()
                assert (stats["spool_torn"], stats["spool_damaged"], stats["recovered"]) == (1, 1, n - 1)
                assert (balance(stats), stats["dropped"]) == (0, 0)
            board = Board(Path(job["board"]))
            assert (board.accepted, board.synced) == (n, n - 1)
            assert judge(board, job["prefix"], collector.predictions).n_events == 1
            (aside,) = (tmp_path / f"spool{n}").glob("*/damaged/*")
            assert aside.stat().st_size > 0
