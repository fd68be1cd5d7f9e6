"""The spool, on real files: what was written is there again after the process is gone, and damage takes no more than it hit."""

from __future__ import annotations

import errno
import os
import random
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import upshot
from tests.logger.collector import Collector, Reply, balance, eventually
from upshot.capture.plain import encode
from upshot.delivery.batch import Batch
from upshot.spool import lane as lanes
from upshot.spool.folder import DAMAGED, Destination
from upshot.spool.lane import Lane
from upshot.spool.leftovers import Leftovers
from upshot.spool.segment import Segment
from upshot.wire import PACKED_CONTENT_TYPE

NOWHERE = "http://127.0.0.1:9"


def batch_of(*ids: str, kind="predictions") -> Batch:
    return Batch.of(kind, PACKED_CONTENT_TYPE, [encode({"request_id": i, "model": "m"}) for i in ids])


def ids_of(batch: Batch | None) -> list[str]:
    return [] if batch is None else [event["request_id"] for event in batch.events()]


@pytest.fixture
def damages():
    return []


@pytest.fixture
def lane(tmp_path, damages):
    made = Lane(tmp_path, "predictions", lambda segment, damage: damages.append(damage), damages.append)
    yield made
    made.close_descriptors()


def drained(lane: Lane) -> list[str]:
    ids = []
    while (batch := lane.take(10, 10**6)) is not None:
        ids += ids_of(batch)
        lane.done()
    return ids


def segments(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.seg"))


# ---- a lane --------------------------------------------------------------------------------------------------------------


def test_what_is_appended_is_taken_in_its_order_and_once(lane, tmp_path):
    """Frames travel together as far as the limits allow; what was dealt with leaves the disk."""
    for i in range(25):
        lane.append(batch_of(f"a{i}"))
    first = lane.take(10, 10**6)
    assert ids_of(first) == [f"a{i}" for i in range(10)]
    lane.give_back()
    assert drained(lane) == [f"a{i}" for i in range(25)]
    assert lane.size_bytes == 0
    assert [path.stat().st_size for path in segments(tmp_path)] == [0]


def test_a_frame_larger_than_the_limit_is_taken_alone(lane):
    """Else it would wait for ever."""
    lane.append(batch_of(*map(str, range(30))))
    lane.append(batch_of("next"))
    assert len(ids_of(lane.take(10, 10**6))) == 30
    lane.done()
    assert ids_of(lane.take(10, 1)) == ["next"]


def test_full_segments_are_removed_one_by_one(lane, tmp_path, monkeypatch):
    """The disk is given back as the server takes what is on it, not at the end."""
    monkeypatch.setattr(lanes, "SEGMENT_BYTES", 400)
    for i in range(40):
        lane.append(batch_of(f"a{i}"))
        assert lane.sync() is None
    n_segments = len(segments(tmp_path))
    assert n_segments > 3
    taken = ids_of(lane.take(20, 10**6))
    lane.done()
    assert len(segments(tmp_path)) < n_segments
    assert taken + drained(lane) == [f"a{i}" for i in range(40)]
    assert sum(path.stat().st_size for path in segments(tmp_path)) == 0


def test_a_refused_sync_moves_what_is_not_safe_to_another_file(lane, tmp_path, monkeypatch):
    """After a failed fdatasync the kernel forgets what it could not write: the same file is never trusted again."""
    lane.append(batch_of("synced"))
    assert lane.sync() is None
    lane.append(batch_of("a"))
    lane.append(batch_of("b"))
    real, calls = os.fdatasync, []

    def fails(fd: int) -> None:
        calls.append(os.fstat(fd).st_ino)
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "fdatasync", fails)
    refused, n_in_hand = lane.sync()
    assert ([ids_of(batch) for batch in refused], n_in_hand) == ([["a"], ["b"]], 0)
    monkeypatch.setattr(os, "fdatasync", lambda fd: calls.append(os.fstat(fd).st_ino) or real(fd))
    for batch in refused:
        lane.append(batch)
    assert lane.sync() is None
    assert len(set(calls)) == 2
    assert drained(lane) == ["synced", "a", "b"]


def test_what_is_on_its_way_when_the_sync_fails_is_written_again(lane, monkeypatch):
    """Whether the server gets it is not known yet; what was synced before stays where it is."""
    lane.append(batch_of("a"))
    assert lane.sync() is None
    lane.append(batch_of("b"))
    assert ids_of(lane.take(10, 10**6)) == ["a", "b"]
    lane.append(batch_of("c"))

    def fails(_: int) -> None:
        raise OSError(errno.EIO, "no")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fails)
        refused, n_in_hand = lane.sync()
    assert ([ids_of(batch) for batch in refused], n_in_hand) == ([["b"], ["c"]], 1)
    for batch in refused:
        lane.append(batch)
    lane.done()
    assert drained(lane) == ["b", "c"]


def test_a_write_that_fails_half_way_leaves_no_trace(lane, monkeypatch):
    """The disk is full in the middle of a frame: what came before is whole, what comes after as well."""
    lane.append(batch_of("before"))
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[: len(data) // 2], at))
    with pytest.raises(OSError, match="space"):
        lane.append(batch_of("half"))
    monkeypatch.setattr(os, "pwrite", real)
    lane.append(batch_of("after"))
    assert drained(lane) == ["before", "after"]


def test_what_was_written_before_a_failed_write_is_synced_all_the_same(lane, monkeypatch):
    """Its file is left behind then, and a power cut would take what nobody comes back to sync."""
    lane.append(batch_of("before"))
    real_write, real_sync, synced = os.pwrite, os.fdatasync, []

    def full(fd: int, data: bytes, at: int) -> int:
        raise OSError(errno.ENOSPC, "no")

    monkeypatch.setattr(os, "pwrite", full)
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.fstat(fd).st_ino) or real_sync(fd))
    with pytest.raises(OSError, match="no"):
        lane.append(batch_of("refused"))
    assert len(synced) == 1
    monkeypatch.setattr(os, "pwrite", real_write)
    assert lane.sync() is None
    assert drained(lane) == ["before"]


def test_what_can_be_neither_written_nor_synced_is_given_back(lane, monkeypatch):
    """Both fail: the next sync returns what was written before, so that it is written elsewhere."""
    lane.append(batch_of("before"))
    real = os.pwrite

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "pwrite", fails)
    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(OSError, match="no"):
        lane.append(batch_of("refused"))
    monkeypatch.setattr(os, "pwrite", real)
    assert lane.unsynced_bytes > 0
    assert [ids_of(batch) for batch in lane.sync().batches] == [["before"]]
    assert drained(lane) == []


# ---- damage --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path) -> tuple[bytes, str, list[int]]:
    """The bytes of a segment of ten frames with ten different lengths, its name, and where each frame begins."""
    folder = tmp_path / "written"
    folder.mkdir()
    lane = Lane(folder, "predictions", print, print)
    starts = []
    for i in range(10):
        starts.append(lane.size_bytes)
        lane.append(batch_of(*(f"{i}.{j}" for j in range(i + 1))))
    lane.close_descriptors()
    (path,) = segments(folder)
    return path.read_bytes(), path.name, starts


def recovered(folder: Path, name: str, data: bytes) -> tuple[list[str], int]:
    """What a reader gets of these bytes: the request IDs, and the number of damaged stretches."""
    path = folder / name
    path.write_bytes(data)
    segment = Segment.found(path)
    ids: list[str] = []
    damages = []
    while True:
        batch, end = segment.oldest(1, 1, lambda _, damage: damages.append(damage))
        if batch is None:
            break
        ids += ids_of(batch)
        segment.done = end
    segment.close()
    return ids, len(damages)


def events_of_frames(numbers) -> list[str]:
    return [f"{i}.{j}" for i in numbers for j in range(i + 1)]


def test_a_segment_cut_anywhere_gives_every_frame_before_the_cut(written, tmp_path):
    """At each of its bytes, as a killed process or a lost tail leaves it."""
    data, name, starts = written
    ends = [*starts[1:], len(data)]
    for cut in range(len(data) + 1):
        ids, n_damages = recovered(tmp_path, name, data[:cut])
        whole = [i for i in range(10) if ends[i] <= cut]
        assert ids == events_of_frames(whole), cut
        assert n_damages == (0 if cut in {0, *ends} else 1), cut


def test_one_flipped_bit_costs_one_frame_and_is_never_taken_for_data(written, tmp_path):
    """Every bit of the file, one at a time."""
    data, name, starts = written
    ends = [*starts[1:], len(data)]
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << (at % 8)
        ids, n_damages = recovered(tmp_path, name, bytes(damaged))
        hit = next(i for i in range(10) if starts[i] <= at < ends[i])
        assert ids == events_of_frames(i for i in range(10) if i != hit), at
        assert n_damages == 1


@pytest.mark.parametrize("seed", range(100))
def test_random_damage_never_invents_an_event(written, tmp_path, seed):
    """Up to twenty flipped bits, a zeroed block, garbage behind: what comes out was put in, in its order."""
    data, name, _ = written
    rng = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 20)):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    if seed % 3 == 0:
        start = rng.randrange(len(damaged))
        damaged[start : start + 200] = bytes(min(200, len(damaged) - start))
    if seed % 2 == 0:
        damaged += rng.randbytes(rng.randrange(1, 300))
    ids, _ = recovered(tmp_path, name, bytes(damaged))
    everything = events_of_frames(range(10))
    assert ids == [i for i in everything if i in set(ids)]


def test_bytes_of_a_frame_inside_an_event_are_not_taken_for_one(tmp_path):
    """Whoever can write a feature could else write events of his own, as soon as a header in front of them is damaged."""
    folder = tmp_path / "spool"
    folder.mkdir()
    lane = Lane(folder, "predictions", print, print)
    lane.append(batch_of("forged"))
    (path,) = segments(folder)
    forged = path.read_bytes()
    lane.close_descriptors()
    path.unlink()
    lane = Lane(folder, "predictions", print, print)
    lane.append(Batch("predictions", PACKED_CONTENT_TYPE, 1, forged))
    lane.append(batch_of("next"))
    lane.close_descriptors()
    (path,) = segments(folder)
    data = bytearray(path.read_bytes())
    data[0] ^= 255
    ids, n_damages = recovered(tmp_path, path.name, bytes(data))
    assert (ids, n_damages) == (["next"], 1)


# ---- with a logger -------------------------------------------------------------------------------------------------------


def run(script: str, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *args], capture_output=True, text=True, timeout=60, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done


LOG_AND_DIE = """
    import os, signal, sys, time, upshot
    logger = upshot.Logger(url=sys.argv[1], model="m")
    for i in range(int(sys.argv[2])):
        logger.log_prediction({"i": i}, 0, request_id=f"{sys.argv[3]}{i}")
    while logger.stats()["queued"]:
        time.sleep(0.001)
    logger.log_label(f"{sys.argv[3]}0", 1)
    assert logger.flush(5, to="disk")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_process_sends_what_a_killed_one_left(collector):
    """Predictions and labels, each once, in a spool that is empty afterwards."""
    with Collector() as away:
        url = away.url
    done = run(LOG_AND_DIE, url, "500", "a", check=False)
    assert done.returncode == -signal.SIGKILL
    port = int(url.rpartition(":")[2])
    with Collector(port) as server, upshot.Logger(url=url, model="m", flush_interval_s=0.02) as logger:
        logger.log_prediction({}, 0, request_id="new")
        eventually(lambda: len(server.stored) == 502)
        eventually(lambda: logger.stats()["in_flight"] == 0)
        stats = logger.stats()
        assert stats["recovered"] == 501
        assert balance(stats) == 0
        assert {event.request_id for event in server.predictions} == {"new", *(f"a{i}" for i in range(500))}
        assert len(server.labels) == 1


def test_spools_of_living_processes_are_left_alone(spool_dir):
    """Several processes of one service share the folder; none takes over what another still holds."""
    first = upshot.Logger(url=NOWHERE, model="m")
    second = upshot.Logger(url=NOWHERE, model="m", flush_interval_s=0.02)
    try:
        first.log_prediction({}, 0)
        assert first.flush(5, to="disk")
        second.log_prediction({}, 0)
        assert second.flush(5, to="disk")
        assert len({path.parent for path in segments(spool_dir)}) == 2
        destination = Destination(spool_dir, NOWHERE)
        left = Leftovers(destination, print)
        left.look()
        assert left.take(10, 10**6) is None
    finally:
        first.close()
        second.close()
    left.look()
    batch = left.take(10, 10**6)
    assert batch is not None
    left.close()


def test_events_for_another_address_are_not_sent_to_this_one(collector, spool_dir):
    """Two services of one user, two servers, one spool: neither sees the other's events."""
    with upshot.Logger(url=NOWHERE, model="m") as logger:
        logger.log_prediction({"secret": 1}, 0)
    assert logger.stats()["spooled"] == 1
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02) as logger:
        logger.log_prediction({}, 0, request_id="mine")
        eventually(lambda: collector.stored)
        assert logger.flush(5)
    assert [event.request_id for event in collector.predictions] == ["mine"]


def test_closing_without_a_server_keeps_everything_and_does_not_wait(collector):
    """The server was found away: all is on disk, so there is nothing to wait for."""
    logger = upshot.Logger(url=NOWHERE, model="m", flush_interval_s=0.02)
    for _ in range(100):
        logger.log_prediction({}, 0)
    eventually(lambda: logger.stats()["retries"] > 0)
    logger.close(timeout=30)
    stats = logger.stats()
    assert (stats["spooled"], stats["dropped"], stats["in_flight"]) == (100, 0, 0)
    assert balance(stats) == 0


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_a_wrong_key_holds_up_is_kept_and_said_once(collector, caplog, status):
    """Somebody mends the key; nothing was lost until then."""
    collector.always = Reply(status)
    with upshot.Logger(url=collector.url, api_key="s3cret", model="m", flush_interval_s=0.02) as logger:
        logger.log_prediction({}, 0)
        assert not logger.flush(10)
        assert (logger.stats()["spooled"], logger.stats()["dropped"]) == (1, 0)
        collector.always = Reply()
        logger.log_prediction({}, 0)
        assert logger.flush(10)
        assert logger.stats()["stored"] == 2
        assert balance(logger.stats()) == 0
    said = [record.getMessage() for record in caplog.records if record.name == "upshot"]
    assert len(said) == 1
    assert str(status) in said[0]
    assert "s3cret" not in said[0]


def test_a_poisoned_event_costs_itself_alone(collector):
    """A server that answers 400 to a batch with one bad event gets the others."""
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=60) as logger:
        for i in range(10):
            logger.log_prediction({}, 0, request_id=f"r{i}")
        collector.refuse = lambda events: any(event.request_id == "r7" for event in events)
        assert logger.flush(10)
        stats = logger.stats()
    assert (stats["stored"], stats["dropped_http_400"]) == (9, 1)
    assert balance(stats) == 0


def test_without_a_writable_folder_events_wait_in_memory_and_that_is_said_once(collector, tmp_path, caplog):
    """They arrive all the same."""
    (tmp_path / "file").write_text("")
    with upshot.Logger(
        url=collector.url, model="m", flush_interval_s=0.02, spool_dir=str(tmp_path / "file" / "below")
    ) as logger:
        for _ in range(10):
            logger.log_prediction({}, 0)
            assert logger.flush(10)
        stats = logger.stats()
        assert (stats["stored"], stats["spooled"]) == (10, 0)
    said = [record.getMessage() for record in caplog.records if record.name == "upshot"]
    assert len(said) == 1
    assert "no spool on disk" in said[0]


def test_a_folder_deleted_while_in_use_loses_nothing(collector, spool_dir, monkeypatch):
    """What the open file still holds goes to memory, and a new folder is made."""
    monkeypatch.setattr("upshot.delivery.spooled._TRY_DISK_EVERY_S", 0.2)
    monkeypatch.setattr("upshot.delivery.spooled._LOOK_AT_DISK_EVERY_S", 0.05)
    collector.always = Reply(503)
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02) as logger:
        for i in range(50):
            logger.log_prediction({}, 0, request_id=f"a{i}")
        assert logger.flush(5, to="disk")
        subprocess.run(["rm", "-rf", str(spool_dir)], check=True)
        eventually(lambda: logger.stats()["spool_errors"])
        for i in range(50):
            logger.log_prediction({}, 0, request_id=f"b{i}")
        eventually(lambda: segments(spool_dir))
        collector.always = Reply()
        eventually(lambda: len(collector.stored) == 100, 30)
        assert logger.flush(5)
        assert balance(logger.stats()) == 0


@pytest.mark.parametrize("n_failures", [1, 2, 5])
def test_a_disk_that_refuses_to_sync_several_times_loses_nothing(collector, monkeypatch, n_failures):
    """The new file may be refused as well: then events wait in memory, and are not called safe before the disk has them."""
    monkeypatch.setattr("upshot.delivery.spooled._TRY_DISK_EVERY_S", 0.05)
    collector.always = Reply(503)
    real, failures = os.fdatasync, []

    def fails(fd: int) -> None:
        if len(failures) < n_failures:
            failures.append(fd)
            raise OSError(errno.EIO, "no")
        real(fd)

    monkeypatch.setattr(os, "fdatasync", fails)
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=60) as logger:
        for i in range(20):
            logger.log_prediction({}, 0, request_id=f"a{i}")
        eventually(lambda: logger.flush(1, to="disk") or len(failures) >= 2)
        assert len(failures) == min(n_failures, 2)
        assert balance(logger.stats()) == 0
        collector.always = Reply()
        assert logger.flush(10)
        stats = logger.stats()
    # What was in the sender's hands when its file was given up is written again, counted as recovered, and may come twice.
    assert (balance(stats), stats["stored"]) == (0, 20 + stats["recovered"])
    assert len(collector.predictions) == stats["stored"]
    assert {event.request_id for event in collector.predictions} == {f"a{i}" for i in range(20)}


def test_a_flush_to_disk_does_not_wait_for_what_is_logged_after_it(collector):
    """Other threads go on logging; what was logged before the call is safe, and it says so."""
    collector.always = Reply(503)
    ending = threading.Event()
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=60) as logger:

        def work() -> None:
            while not ending.is_set():
                logger.log_prediction({}, 0)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            assert [logger.flush(10, to="disk") for _ in range(20)] == [True] * 20
        finally:
            ending.set()
            for thread in threads:
                thread.join()


def test_spooled_counts_only_what_is_written(collector, monkeypatch):
    """Who reads the counter takes those events for safe from a kill."""
    collector.always = Reply(503)
    seen = []
    real = os.pwrite
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=60) as logger:

        def watched(fd: int, data: bytes, at: int) -> int:
            stats = logger.stats()
            seen.append((stats["queued"], stats["spooled"], balance(stats)))
            return real(fd, data, at)

        monkeypatch.setattr(os, "pwrite", watched)
        logger.log_prediction({}, 0)
        assert logger.flush(5, to="disk")
        monkeypatch.setattr(os, "pwrite", real)
        assert seen == [(1, 0, 0)]
        assert (logger.stats()["queued"], logger.stats()["spooled"]) == (0, 1)


def test_a_full_spool_drops_the_newest_and_says_why(collector, monkeypatch):
    """What came first is kept; the counter names the spool, not the queue."""
    collector.always = Reply(503)
    with upshot.Logger(
        url=collector.url, model="m", flush_interval_s=0.02, queue_max_events=100, spool_max_bytes=4096
    ) as logger:
        for i in range(3000):
            logger.log_prediction({"noise": os.urandom(20).hex()}, 0, request_id=f"a{i}")
            if i % 50 == 0:
                logger.flush(1, to="disk")
        stats = logger.stats()
        assert stats["dropped_spool_full"] > 1000
        assert stats["dropped"] == stats["dropped_spool_full"]
        assert balance(stats) == 0
        collector.always = Reply()
        assert logger.flush(30)
        stats = logger.stats()
        kept = [int(event.request_id[1:]) for event in collector.predictions]
        assert len(kept) == stats["stored"] == 3000 - stats["dropped"]
        assert sorted(kept)[:40] == list(range(40))


def test_the_folder_is_the_user_s_alone(spool_dir):
    """Features may be personal data: nobody else may read the files, and a folder that others may write to is refused."""
    with upshot.Logger(url=NOWHERE, model="m") as logger:
        logger.log_prediction({}, 0)
        assert logger.flush(5, to="disk")
        for path in spool_dir.rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    (destination,) = spool_dir.iterdir()
    destination.chmod(0o777)
    with pytest.raises(PermissionError):
        Destination(spool_dir, NOWHERE).make()


def test_damaged_bytes_are_moved_aside_and_counted(spool_dir):
    """By the process that finds them; the events around them arrive."""
    with Collector() as away:
        url = away.url
    run(LOG_AND_DIE, url, "10", "a", check=False)
    run(LOG_AND_DIE, url, "10", "b", check=False)
    path = next(path for path in segments(spool_dir) if "predictions" in path.name)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with (
        Collector(int(url.rpartition(":")[2])) as server,
        upshot.Logger(url=url, model="m", flush_interval_s=0.02) as logger,
    ):
        logger.log_prediction({}, 0, request_id="new")
        eventually(lambda: len(server.predictions) >= 11)
        eventually(lambda: len(server.labels) == 2)
        assert logger.stats()["spool_damaged"] == 1
    (aside,) = next(spool_dir.iterdir()).joinpath(DAMAGED).iterdir()
    assert bytes(data).endswith(aside.read_bytes())
