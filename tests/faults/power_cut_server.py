"""Cuts the power under the server's store (rows F17, F22), again and again: `make test-power-server ARGS="--cuts 10"`.

The real server on an ext4 of its own in a loop file; a sender writes predictions and labels and notes what was answered; at some
moment the file system is shut down as a power cut leaves it (`power_cut.py`). Then it is mounted again and the server started
on what is there: it must open, have everything that was answered, each once and with its label, and its books must balance.
Needs root and loop devices. Prints one line per cut; ends with 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import pyarrow.parquet as pq

from tests.faults.books import assert_books_balance
from tests.faults.power_cut import Disk
from tests.running import RunningServer
from tests.waiting import eventually

BATCH = 25


class Sender:
    """Sends predictions and labels as fast as they are answered, until it is told to stop; notes what was answered."""

    def __init__(self, url: str, first: int) -> None:
        self.predicted: set[int] = set()
        self.labelled: set[int] = set()
        self.number = first
        self.was_cut_off = False
        """Whether the last request was under way when the power went."""
        self._stop = threading.Event()
        self._url = url
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def end(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        with httpx.Client(base_url=self._url, timeout=120) as http:
            while not self._stop.is_set():
                numbers = range(self.number, self.number + BATCH)
                self.number += BATCH
                predictions = [
                    {"request_id": f"r{n}", "model": "m", "features": {"n": n}, "prediction": n} for n in numbers
                ]
                labels = [{"request_id": f"r{n}", "value": n % 7} for n in numbers]
                try:
                    if http.post("/v1/predictions", json=predictions).status_code == 200:
                        self.predicted.update(numbers)
                    if http.post("/v1/labels", json=labels).status_code == 200:
                        self.labelled.update(numbers)
                except httpx.TransportError:
                    self.was_cut_off = True
                    return


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if os.geteuid() != 0:
        print("needs root: it mounts a file system of its own")
        return 2
    rng = random.Random(asked.seed)
    predicted: set[int] = set()
    labelled: set[int] = set()
    number = n_cut_off = 0
    with tempfile.TemporaryDirectory(prefix="upshot-power-server-") as folder:
        disk = Disk(Path(folder), size_mb=800)
        disk.mount()
        server = RunningServer(disk.path / "up" / "data")
        try:
            server.start()
            for cut in range(asked.cuts):
                sender = Sender(server.url, number)
                eventually(lambda sender=sender: sender.labelled, 300)
                time.sleep(rng.uniform(0.0, 3.0))
                server.suspend()  # else it would see errors that no power cut shows
                disk.cut_the_power()
                server.kill()
                sender.end()
                predicted |= sender.predicted
                labelled |= sender.labelled
                number = sender.number
                n_cut_off += sender.was_cut_off
                disk.unmount()
                disk.mount()
                began = time.monotonic()
                server.start()
                opened_s = time.monotonic() - began
                n_rows = judge(server, predicted, labelled)
                print(
                    f"cut {cut}: {len(predicted)} predictions and {len(labelled)} labels were answered, 0 lost; {n_rows} rows, "
                    f"each once; opened in {opened_s:.1f} s",
                    flush=True,
                )
        finally:
            server.kill()
            server.end()
            disk.unmount()
    print(f"{asked.cuts} cuts, all opened; {len(predicted)} predictions and {len(labelled)} labels, 0 lost, 0 twice")
    if not n_cut_off or len(predicted) < 100 * asked.cuts:
        print("too little was going on when the power went: the run says nothing")
        return 1
    return 0


def judge(server: RunningServer, predicted: set[int], labelled: set[int]) -> int:
    """Raises AssertionError when a promise was broken; returns how many predictions there are."""
    server.until_joined(300)
    found = server.export(model="m")
    rows = (
        pq.ParquetDataset([f"{found['location']}/{file['path']}" for file in found["manifest"]["files"]])
        .read()
        .to_pylist()
    )
    by_number = {row["feature__n"]: row for row in rows}
    assert len(by_number) == len(rows), "a prediction is there twice"
    assert predicted <= set(by_number), f"{len(predicted - set(by_number))} answered predictions are lost"
    for n, row in by_number.items():
        assert (row["request_id"], row["prediction"]) == (f"r{n}", n)
        assert row["label__label"] == n % 7 or (n not in labelled and row["label__label"] is None), row
    books = assert_books_balance(server)
    assert books["stored"]["predictions"] == len(rows)
    assert books["stored"]["label_events"] >= len(labelled)
    return len(rows)


if __name__ == "__main__":
    sys.exit(main())
