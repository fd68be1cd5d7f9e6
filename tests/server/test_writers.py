"""The books of real writers at a real server: every number that a process gave to an event is accounted for, exactly."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
import zstandard

from tests.browser.canned import HOSTILE
from tests.running import RunningServer
from upshot.wire import PACKED_CONTENT_TYPE, Prediction, WriterReport, pack

PROCESS = Path(__file__).parent / "writing_process.py"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for these tests; each has writers of its own."""
    running = RunningServer(tmp_path_factory.mktemp("writers") / "data")
    running.start()
    yield running
    running.end()


def started(server: RunningServer, what: str, spool: Path | None = None) -> subprocess.Popen[str]:
    """A process that logs; without a spool, what its memory held is lost with it."""
    settings = {"UPSHOT_SPOOL": "false"} if spool is None else {"UPSHOT_SPOOL": "true", "UPSHOT_SPOOL_DIR": str(spool)}
    return subprocess.Popen(
        [sys.executable, PROCESS, server.url, what], stdout=subprocess.PIPE, text=True, env={**os.environ, **settings}
    )


def stats(process: subprocess.Popen[str]) -> dict[str, int]:
    """What a process printed of its counters."""
    assert process.stdout is not None
    with process.stdout:
        counters: dict[str, int] = json.loads(process.stdout.readline())
    return counters


def of_model(server: RunningServer, model: str) -> dict[str, Any]:
    """The answer about the writers of a model."""
    answer = server.http.get("/v1/writers", params={"model": model})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def one(server: RunningServer, writer_id: str) -> dict[str, Any]:
    """The answer about one writer."""
    answer = server.http.get(f"/v1/writers/{quote(writer_id, safe='')}")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def report(writer_id: str, counters: dict[str, int], *, is_last: bool) -> dict[str, Any]:
    """The report that a writer with these counters makes."""
    said = {"counters": counters, "next_seq": counters["accepted"], "is_last": is_last}
    return {"writer_id": writer_id, "reported_at": time.time(), "started_at": time.time() - 5, **said}


def is_conserved(told: dict[str, Any]) -> bool:
    """Every number is received, explained, waiting or unexplained: of each writer, and of all."""
    return all(
        books["next_seq"]
        == books["received"] + sum(books["explained"].values()) + sum(books["waiting"].values()) + books["unexplained"]
        for books in (*told["writers"], told["totals"])
    )


def test_two_writers_at_once_are_complete_to_the_last_number(server: RunningServer) -> None:
    """Predictions and labels share the numbers, a refused event has arrived; also after kill -9 of the server."""
    processes = [started(server, "interleaved") for _ in range(2)]
    counters = [stats(process) for process in processes]
    assert [process.wait(30) for process in processes] == [0, 0]
    assert [c["accepted"] for c in counters] == [1001, 1001]
    assert [c["rejected"] for c in counters] == [1, 1]
    for _ in range(2):
        told = of_model(server, "interleaved")
        assert is_conserved(told)
        assert len(told["writers"]) == 2
        for writer in told["writers"]:
            assert (writer["received"], writer["next_seq"], writer["missing"]) == (1001, 1001, 0)
            assert (writer["state"], writer["rejected"], writer["gaps"]) == ("complete", 1, [])
            assert one(server, writer["writer_id"])["rejected_by_code"] == {"too_long": 1}
        assert told["totals"]["received"] == 2002
        server.kill()
        server.start()


def test_events_dropped_for_want_of_room_are_gaps_with_a_reason(server: RunningServer) -> None:
    """The gaps at the server are as many as the writer says it dropped."""
    process = started(server, "full")
    counters = stats(process)
    assert process.wait(30) == 0
    assert 0 < counters["dropped_full"] < 1000
    [writer] = of_model(server, "full")["writers"]
    server.post("/v1/writers", report(writer["writer_id"], counters, is_last=True))
    told = of_model(server, "full")
    assert is_conserved(told)
    [writer] = told["writers"]
    assert (writer["next_seq"], writer["missing"]) == (1001, counters["dropped_full"])
    assert (writer["state"], writer["explained"], writer["unexplained"]) == (
        "complete",
        {"full": counters["dropped_full"]},
        0,
    )
    assert sum(last - first + 1 for first, last in one(server, writer["writer_id"])["gaps"]) == writer["missing"]
    assert writer["received"] == counters["stored"]


def test_a_killed_process_leaves_its_last_numbers_missing(server: RunningServer) -> None:
    """What its memory held when it last reported is waited for, and nothing else; then it is lost."""
    process = started(server, "killed")
    counters = stats(process)
    [writer] = of_model(server, "killed")["writers"]
    server.post("/v1/writers", report(writer["writer_id"], counters, is_last=False))
    process.kill()
    process.wait()
    told = of_model(server, "killed")
    assert is_conserved(told)
    [writer] = told["writers"]
    assert (writer["received"], writer["next_seq"], writer["gaps"]) == (50, 70, [[50, 69]])
    assert (writer["state"], writer["waiting"], writer["is_last"]) == ("waiting", {"queued": 20}, False)
    lost = report(writer["writer_id"], counters, is_last=True)  # whoever knows that the process is gone can say so
    assert server.post("/v1/writers", lost).json()["accepted"] == 1
    [writer] = of_model(server, "killed")["writers"]
    assert (writer["state"], writer["unexplained"], writer["waiting"]) == ("lossy", 20, {})


def test_what_a_killed_process_left_in_its_spool_arrives_under_its_own_name(
    server: RunningServer, tmp_path: Path
) -> None:
    """The next process with that spool sends it, and the gap at the server closes."""
    process = started(server, "spooling", tmp_path / "spool")
    assert stats(process)["spooled"] == 20
    [killed] = of_model(server, "spooling")["writers"]
    assert killed["received"] == 50
    process.kill()
    process.wait()
    heir = started(server, "heir", tmp_path / "spool")
    stats(heir)
    assert heir.wait(60) == 0
    told = one(server, killed["writer_id"])
    assert (told["received"], told["next_seq"], told["state"]) == (70, 70, "complete")
    [own] = of_model(server, "heir")["writers"]
    assert (own["received"], own["next_seq"], own["state"]) == (1, 1, "complete"), (
        "what it sent for another is not its own"
    )


def test_no_number_is_lost_or_invented_while_the_server_is_killed(server: RunningServer) -> None:
    """Three kills under load: events that were stored and not acknowledged come again, and count once."""
    process = started(server, "under_kills")
    rng = random.Random(5)
    for _ in range(3):
        time.sleep(rng.uniform(0.3, 0.8))
        server.kill()
        server.start()
    counters = stats(process)
    assert process.wait(60) == 0
    assert counters["stored"] + counters["duplicates"] == counters["accepted"] == 4000
    told = of_model(server, "under_kills")
    assert is_conserved(told)
    [writer] = told["writers"]
    assert (writer["received"], writer["next_seq"], writer["state"], writer["rejected"]) == (4000, 4000, "complete", 0)
    assert server.http.get("/v1/models/under_kills").json()["predictions"] == 4000


def test_a_batch_that_is_sent_again_counts_once(server: RunningServer) -> None:
    """Also across a restart of the server, and together with the gap in its middle."""
    events = [
        Prediction(request_id=f"again-{seq}", model="again", prediction=0.5, writer_id="again", seq=seq)
        for seq in (*range(400), *range(410, 1000))
    ]
    body = zstandard.compress(pack(map(msgspec.msgpack.encode, events)))
    headers = {"content-type": PACKED_CONTENT_TYPE, "content-encoding": "zstd"}
    for expected in ({"accepted": 990, "duplicates": 0}, {"accepted": 0, "duplicates": 990}):
        answer = server.http.post("/v1/predictions", content=body, headers=headers).json()
        assert expected.items() <= answer.items()
        told = one(server, "again")
        assert (told["received"], told["missing"], told["gaps"]) == (990, 10, [[400, 409]])
        assert server.signalled(15) == 0
        server.start()
    assert (told["state"], told["waiting"]) == ("waiting", {"recent": 10})


def test_reports_come_in_every_form_and_bad_ones_are_named(server: RunningServer) -> None:
    """JSON, a list, one per line, packed; each refused report has its place, and the rest is taken."""
    reports = [WriterReport(writer_id=f"form-{n}", next_seq=0, reported_at=1e9, started_at=1e9) for n in range(8)]
    as_json = [msgspec.json.encode(one) for one in reports]
    packed = zstandard.compress(pack(map(msgspec.msgpack.encode, reports[5:])))
    bodies = [
        (as_json[0], {"content-type": "application/json"}),
        (b"[" + b",".join(as_json[1:3]) + b"]", {"content-type": "application/json"}),
        (b"\n".join(as_json[3:5]), {"content-type": "application/x-ndjson"}),
        (packed, {"content-type": PACKED_CONTENT_TYPE, "content-encoding": "zstd"}),
    ]
    accepted = [server.http.post("/v1/writers", content=body, headers=form).json()["accepted"] for body, form in bodies]
    assert accepted == [1, 2, 2, 3]
    good = msgspec.to_builtins(reports[0])
    bad: list[Any] = [
        {**good, "writer_id": ""},
        {**good, "next_seq": -1},
        {**good, "reported_at": "yesterday"},
        {**good, "counters": {"stored": -1}},
        {**good, "counters": {"stored": 1.5}},
        {**good, "host": "h\n"},
        {"writer_id": "form-9"},
        7,
    ]
    answer = server.post("/v1/writers", [*bad, good]).json()
    assert (answer["accepted"], answer["duplicates"], answer["rejected"]) == (0, 1, len(bad))
    assert [(place["loc"], place["code"]) for place in answer["errors"]] == [
        ("writer_id", "empty"),
        ("next_seq", "out_of_range"),
        ("reported_at", "invalid_time"),
        ("counters.stored", "out_of_range"),
        ("counters[...]", "wrong_type"),
        ("host", "control_character"),
        ("next_seq", "missing"),
        ("", "wrong_type"),
    ]
    assert server.post("/v1/writers", bad).status_code == 422
    assert all(one(server, report.writer_id)["received"] == 0 for report in reports), "a report is no event"


@pytest.mark.parametrize("query", ["state=lost", "limit=0", "limit=1001", "limit=x"])
def test_a_wrong_question_about_writers_is_refused(server: RunningServer, query: str) -> None:
    """422 with the place; an unknown writer is 404."""
    answer = server.http.get(f"/v1/writers?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert server.http.get("/v1/writers/nobody").json()["code"] == "unknown_writer"


def test_names_of_writers_are_kept_letter_by_letter(server: RunningServer) -> None:
    """Writer, host and model may hold anything but control characters."""
    for number, name in enumerate(HOSTILE):
        event = {"request_id": f"name-{number}", "model": "names", "writer_id": name, "seq": 1}
        said = report(name, {"accepted": 3}, is_last=False) | {"host": name}
        accepted = server.post("/v1/predictions", event).json()["code" if "\0" in name else "accepted"]
        assert accepted == ("all_rejected" if "\0" in name else 1)
        if "\0" not in name:
            assert server.post("/v1/writers", said).json()["accepted"] == 1
            told = one(server, name)
            assert (told["writer_id"], told["host"], told["received"], told["gaps"]) == (
                name,
                name,
                1,
                [[0, 0], [2, 2]],
            )
    assert {writer["writer_id"] for writer in of_model(server, "names")["writers"]} == {
        n for n in HOSTILE if "\0" not in n
    }
