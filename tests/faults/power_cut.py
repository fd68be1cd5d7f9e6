"""Cuts the power under the spool (row F03), again and again: `make test-power ARGS="--cuts 10"`.

An ext4 of its own in a loop file; a service logs into it; at a random moment the file system is shut down as a power cut leaves it:
what was not synced is gone, and so is what the journal had not written. Then it is mounted again, and the next logger sends what
is there. Needs root and loop devices. Prints one line per cut and a summary; ends with 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import upshot
from tests.faults.judging import SERVICE, is_empty, judge
from tests.faults.logger_service import Board, Job
from tests.logger.collector import Collector, Reply, eventually
from upshot.delivery import spooled

SHUTDOWN = 0x8004587D
WITHOUT_THE_JOURNAL = struct.pack("I", 2)
A0_AND_A1_S = 0.55


class Disk:
    """An ext4 in a file, mounted at `path`."""

    def __init__(self, folder: Path, size_mb: int = 300) -> None:
        self._image = folder / "disk.img"
        self.path = folder / "disk"
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(size_mb * 1024 * 1024)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self._image)], check=True)

    def mount(self) -> None:
        """Raises CalledProcessError when it cannot be."""
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.path)], check=True)

    def cut_the_power(self) -> None:
        """Nothing that was not synced reaches the image from now on."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, WITHOUT_THE_JOURNAL)
        finally:
            os.close(fd)

    def unmount(self) -> None:
        """Once the processes that hold files of it are gone."""
        eventually(
            lambda: subprocess.run(["umount", str(self.path)], stderr=subprocess.DEVNULL, check=False).returncode == 0
        )


@contextlib.contextmanager
def mounted(disk: Disk) -> Iterator[Path]:
    """The disk, mounted."""
    disk.mount()
    try:
        yield disk.path
    finally:
        disk.unmount()


def one_cut(number: int, folder: Path, collector: Collector, rate_per_s: float, rng: random.Random) -> tuple[int, ...]:
    """Log, cut, mount, send. Returns how many calls were accepted, spooled, synced, and lost."""
    disk = Disk(folder)
    board = Board(folder / "board")
    job: Job = {
        "board": str(folder / "board"),
        "prefix": f"cut{number}",
        "options": {"url": collector.url, "spool_dir": str(disk.path / "spool"), "flush_interval_s": 60},
        "rate_per_s": rate_per_s,
        "sync_every_s": rng.choice([0.02, 0.2, 0.9]),
    }
    (folder / "jobs.json").write_text(json.dumps([job]))
    collector.always = Reply(503)
    with mounted(disk):
        process = subprocess.Popen(
            [sys.executable, str(SERVICE), str(folder / "jobs.json")], start_new_session=True, stderr=subprocess.DEVNULL
        )
        eventually(lambda: board.synced, 30)
        time.sleep(rng.uniform(0.0, 2.0))
        os.killpg(process.pid, signal.SIGSTOP)  # else it would see errors that no power cut shows
        disk.cut_the_power()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    collector.always = Reply()
    with mounted(disk), upshot.Logger(**{**job["options"], "model": "m", "flush_interval_s": 0.02}) as heir:
        heir.log_prediction({}, 0, request_id="heir")
        eventually(lambda: is_empty(disk.path / "spool"), 60)
        if not heir.flush(30):
            raise AssertionError("what the cut left behind was not sent")
        if heir.stats()["recovered"] < board.synced:
            raise AssertionError(f"cut {number}: {heir.stats()} but {board.synced} were synced")
    loss = judge(board, job["prefix"], collector.predictions, survives="power cut")
    return board.accepted, board.spooled, board.synced, loss.n_events


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=10)
    parser.add_argument("--rate", type=float, default=3000.0, help="calls a second")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if os.geteuid() != 0:
        print("needs root: it mounts a file system of its own")
        return 2
    rng = random.Random(asked.seed)
    worst_s = 0.0
    n_synced = 0
    for number in range(asked.cuts):
        with tempfile.TemporaryDirectory(prefix="upshot-power-") as folder, Collector() as collector:
            accepted, n_spooled, synced, lost = one_cut(number, Path(folder), collector, asked.rate, rng)
        worst_s = max(worst_s, lost / asked.rate)
        n_synced += synced
        print(
            f"cut {number}: {accepted} accepted, {n_spooled} spooled, {synced} synced; lost {lost} = {lost / asked.rate:.3f} s, "
            "0 of the synced"
        )
    print(f"{asked.cuts} cuts, {n_synced} synced events, 0 of them lost; at most {worst_s:.3f} s lost of the others")
    within = A0_AND_A1_S + spooled._WRITE_EVERY_S
    if not worst_s:
        print("no cut took anything: the run says nothing")
        return 1
    if worst_s > within:
        print(f"more than {within:.2f} s lost")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
