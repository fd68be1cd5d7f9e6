"""How fast ``upshot labels load`` is: a CSV of 200,000 rows to a real server, against the server alone.

    python -m tests.bench.bench_label_files [rows]

The contender posts the same events, encoded beforehand, in batches of the same size, one after the other: what the file costs is
the difference. Then the same file again, of which all events are duplicates, and a dry run, which is the reader alone.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from tests.running import RunningServer
from upshot.wire import LabelEvent
from upshot_server.labels.batches import MAX_EVENTS
from upshot_server.labels.sender import LabelSender

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000


def write(path: Path) -> None:
    """A file as a warehouse exports it."""
    with path.open("w") as file:
        file.write("order_ref,chargeback,closed_at,clerk\n")
        for n in range(ROWS):
            file.write(f"order-{n},{n % 2},2026-11-{1 + n % 27:02d} 10:00:{n % 60:02d},clerk {n % 50}\n")


def load(server: RunningServer, path: Path, *more: str) -> float:
    """Seconds that the command takes, the start of its process included."""
    began = time.perf_counter()
    subprocess.run(
        [
            sys.executable, "-m", "upshot_server", "labels", "load", path, "--column", "request_id=order_ref", "--column",
            "value=chargeback", "--column", "observed_at=closed_at", "--timezone", "UTC", "--set", "name=chargeback",
            "--url", server.url, *more,
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - began


def post(server: RunningServer) -> float:
    """Seconds that the server takes for as many events of other requests."""
    encoder = msgspec.msgpack.Encoder()
    events = [
        encoder.encode(LabelEvent(request_id=f"other-{n}", name="chargeback", value=n % 2, observed_at=1793527200 + n))
        for n in range(ROWS)
    ]
    with LabelSender(server.url) as sender:
        began = time.perf_counter()
        for start in range(0, ROWS, MAX_EVENTS):
            sender.send(events[start : start + MAX_EVENTS])
        return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chargebacks.csv"
        write(path)
        server = RunningServer(Path(folder) / "data")
        server.start()
        try:
            alone = post(server)
            took = {"load": load(server, path), "again": load(server, path), "dry run": load(server, path, "--dry-run")}
        finally:
            server.end()
    print(f"{ROWS:,} rows; the server alone, batch after batch: {alone:.1f} s, {ROWS / alone:,.0f} events/s")
    for name, seconds in took.items():
        print(f"{name:>8}: {seconds:5.1f} s, {ROWS / seconds:>7,.0f} rows/s, {seconds / alone:.2f} x the server alone")


if __name__ == "__main__":
    main()
