"""``upshot labels load`` with real files and a real server: what arrives, what is refused and where, what a repetition does."""

from __future__ import annotations

import gzip
import json
import socket
import struct
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests.running import RunningServer
from tests.server.labels.commands import Commands, counts, rejected_lines

T = "2026-11-01T10:00:00Z"


def events(server: RunningServer, request_id: str) -> list[dict[str, Any]]:
    """The label events of a request, by name."""
    found = server.story(request_id)["label_events"]
    return sorted(found, key=lambda one: (one["name"], one["received_at"]))


def values(server: RunningServer, *request_ids: str) -> list[Any]:
    """The value of the one label event of each request."""
    found = []
    for request_id in request_ids:
        [event] = events(server, request_id)
        found.append(event["value"])
    return found


def test_a_csv_with_the_names_of_an_event_needs_no_options(server: RunningServer, labels: Commands, fresh: str) -> None:
    (labels.folder / "a.csv").write_text(
        "request_id,item_id,model,name,op,value,observed_at,source,label_id,tags.team,more\n"
        f"{fresh},i-1,m,bad,set,1,{T},desk,first,blue,x\n"
        f"{fresh},i-1,m,bad,retract,,{T},desk,second,,y\n"
    )
    done = labels.run("load", "a.csv")
    assert done.status == 0, done.err
    assert "2 rows, 2 events read: 2 accepted, 0 duplicates, 0 rejected, 0 skipped" in done.out
    assert "columns not used: more" in done.out
    one, two = sorted(events(server, fresh), key=lambda event: event["label_id"])
    assert {name: one[name] for name in ("item_id", "model", "name", "op", "value", "source", "label_id", "tags")} == {
        "item_id": "i-1", "model": "m", "name": "bad", "op": "set", "value": 1, "source": "desk", "label_id": "first",
        "tags": {"team": "blue"},
    }  # fmt: skip
    assert (two["op"], two["value"], two["tags"]) == ("retract", None, {})


def test_columns_are_mapped_and_constants_set(server: RunningServer, labels: Commands, fresh: str) -> None:
    (labels.folder / "orders.csv").write_text(f"order_ref,bad?,when\n{fresh},0,{T}\n")
    done = labels.run(
        "load", "orders.csv", "--column", "request_id=order_ref", "--column", "value=bad?", "--column", "observed_at=when",
        "--set", "name=chargeback", "--set", "source=feed", "--set", "tags.run=7", "--json",
    )  # fmt: skip
    assert counts(done.json) == {"read": 1, "accepted": 1, "duplicates": 0, "rejected": 0, "skipped": 0}
    [event] = events(server, fresh)
    assert (event["name"], event["value"], event["source"], event["tags"]) == ("chargeback", 0, "feed", {"run": "7"})
    assert event["observed_at"] == T


def test_the_wide_form_gives_an_event_for_each_value_column(
    server: RunningServer, labels: Commands, fresh: str
) -> None:
    (labels.folder / "wide.csv").write_text(
        f"request_id,chargeback,refunded,label_id,observed_at\n{fresh}a,0,1,x,{T}\n{fresh}b,,true,,{T}\n"
    )
    done = labels.run("load", "wide.csv", "--value-column", "chargeback", "--value-column", "refunded", "--json")
    assert counts(done.json) == {"read": 4, "accepted": 3, "duplicates": 0, "rejected": 0, "skipped": 1}
    assert [(e["name"], e["value"], e["label_id"]) for e in events(server, f"{fresh}a")] == [
        ("chargeback", 0, "x/chargeback"),
        ("refunded", 1, "x/refunded"),
    ]
    assert [(e["name"], e["value"]) for e in events(server, f"{fresh}b")] == [("refunded", True)]


def test_zero_and_false_are_values_and_keep_their_type(server: RunningServer, labels: Commands, fresh: str) -> None:
    """0, 0.0, false: three values; an empty cell is none of them."""
    cells = ["0", "0.0", "false", "-0.0", "", "007", "1e3", " 2 ", "9223372036854775807", "no"]
    rows = "".join(f"{fresh}-{n},{cell},{T}\n" for n, cell in enumerate(cells))
    (labels.folder / "a.csv").write_text(f"request_id,value,observed_at\n{rows}")
    assert counts(labels.run("load", "a.csv", "--json").json)["skipped"] == 1
    found = values(server, *(f"{fresh}-{n}" for n in range(len(cells)) if cells[n]))
    expected = [0, 0.0, False, -0.0, "007", 1000.0, 2, 9223372036854775807, "no"]
    assert [(type(value), repr(value)) for value in found] == [(type(value), repr(value)) for value in expected]


@pytest.mark.parametrize(
    ("type_", "cells", "expected"),
    [
        ("int", ["0", "1.0", "x"], [0, 1, "wrong_type"]),
        ("float", ["0", "1e400", "nan"], [0.0, "not_finite", "not_finite"]),
        ("bool", ["0", "Yes", "2"], [False, True, "wrong_type"]),
        ("str", ["0", "false", "nan"], ["0", "false", "nan"]),
        ("auto", ["inf", "9223372036854775808", "a b"], ["not_finite", "out_of_range", "a b"]),
    ],
)
def test_the_type_of_values_is_as_asked_or_refused(
    server: RunningServer, labels: Commands, fresh: str, type_: str, cells: list[str], expected: list[object]
) -> None:
    rows = "".join(f"{fresh}-{n},{cell},{T}\n" for n, cell in enumerate(cells))
    (labels.folder / "a.csv").write_text(f"request_id,value,observed_at\n{rows}")
    done = labels.run("load", "a.csv", "--value-type", type_)
    listed = labels.folder / "a.csv.rejected.ndjson"
    refused = {one["line"]: one["code"] for one in rejected_lines(listed)} if listed.exists() else {}
    assert done.status == (1 if refused else 0)
    found = [refused.get(n + 2) or values(server, f"{fresh}-{n}")[0] for n in range(len(cells))]
    assert [(type(value), value) for value in found] == [(type(value), value) for value in expected]


def test_an_empty_cell_retracts_where_that_is_asked(server: RunningServer, labels: Commands, fresh: str) -> None:
    (labels.folder / "a.csv").write_text(f"request_id,value,observed_at\n{fresh}a,,{T}\n{fresh}b,NULL,{T}\n")
    done = labels.run("load", "a.csv", "--empty", "retract", "--null", "NULL", "--json")
    assert counts(done.json) == {"read": 2, "accepted": 2, "duplicates": 0, "rejected": 0, "skipped": 0}
    assert [events(server, f"{fresh}{n}")[0]["op"] for n in "ab"] == ["retract", "retract"]


def test_times_need_an_offset_or_a_zone(server: RunningServer, labels: Commands, fresh: str) -> None:
    rows = [
        "2026-07-01T12:00:00+02:00", "2026-07-01 12:00:00", "2026-07-01", "2026-01-01 12:00", "yesterday", "1751364000",
    ]  # fmt: skip
    text = "".join(f"{fresh}-{n},1,{cell}\n" for n, cell in enumerate(rows))
    (labels.folder / "a.csv").write_text(f"request_id,value,observed_at\n{text}")
    refused = labels.run("load", "a.csv", "--dry-run", "--json", "--show", "10")
    assert [(one["line"], one["code"]) for one in refused.json["files"][0]["first_rejected"]] == [
        (3, "time_without_offset"), (4, "time_without_offset"), (5, "time_without_offset"), (6, "invalid_time"),
        (7, "invalid_time"),
    ]  # fmt: skip
    assert labels.run("load", "a.csv", "--timezone", "Europe/Berlin").status == 1
    found = [events(server, f"{fresh}-{n}")[0]["observed_at"] for n in range(4)]
    assert found == ["2026-07-01T10:00:00Z", "2026-07-01T10:00:00Z", "2026-06-30T22:00:00Z", "2026-01-01T11:00:00Z"]


@pytest.mark.parametrize(("format_", "cell"), [("epoch", "1793527200.25"), ("epoch_ms", "1793527200250")])
def test_times_may_be_counted_from_1970(
    server: RunningServer, labels: Commands, fresh: str, format_: str, cell: str
) -> None:
    (labels.folder / "a.csv").write_text(f"request_id,value,observed_at\n{fresh},1,{cell}\n")
    assert labels.run("load", "a.csv", "--time-format", format_).status == 0
    assert events(server, fresh)[0]["observed_at"] == "2026-11-01T10:00:00.250000Z"


def test_milliseconds_taken_for_seconds_are_refused(labels: Commands, fresh: str) -> None:
    (labels.folder / "a.csv").write_text(f"request_id,value,observed_at\n{fresh},1,1793527200250\n")
    assert labels.run("load", "a.csv", "--time-format", "epoch").status == 1
    [line] = rejected_lines(labels.folder / "a.csv.rejected.ndjson")
    assert line == {"line": 2, "code": "out_of_range", "loc": "observed_at", "column": "observed_at"}


def test_running_a_file_twice_changes_nothing(server: RunningServer, labels: Commands, fresh: str) -> None:
    (labels.folder / "a.csv").write_text(
        "request_id,value,observed_at\n" + "".join(f"{fresh}-{n},{n % 2},{T}\n" for n in range(500))
    )
    first, second = (labels.run("load", "a.csv", "--json").json for _ in range(2))
    assert counts(first) == {"read": 500, "accepted": 500, "duplicates": 0, "rejected": 0, "skipped": 0}
    assert counts(second) == {"read": 500, "accepted": 0, "duplicates": 500, "rejected": 0, "skipped": 0}
    assert len(events(server, f"{fresh}-7")) == 1


def test_two_equal_rows_are_one_event_or_two_as_asked(server: RunningServer, labels: Commands, fresh: str) -> None:
    (labels.folder / "a.csv").write_text(f"request_id,value,observed_at\n{fresh},5,{T}\n{fresh},5,{T}\n")
    assert counts(labels.run("load", "a.csv", "--json").json)["duplicates"] == 1
    first, second = (labels.run("load", "a.csv", "--id", "line", "--json").json for _ in range(2))
    assert (first["accepted"], second["duplicates"]) == (2, 2)
    assert len(events(server, fresh)) == 3


def test_every_bad_cell_is_named_by_its_line_and_the_rest_is_stored(
    server: RunningServer, labels: Commands, fresh: str
) -> None:
    """A BOM, CRLF, quotes, a NUL, bytes that are no UTF-8, a quote that never ends, ragged rows: each costs itself."""
    (labels.folder / "a.csv").write_bytes(
        b"\xef\xbb\xbfrequest_id,value,observed_at,note\r\n"
        + f'{fresh}-2,0,{T},"a ""quoted"" note\r\nof two lines"\r\n'.encode()  # lines 2 and 3
        + f"{fresh}-4,1\r\n".encode()
        + f"{fresh}-5,1,{T},na\xefve\r\n".encode("latin-1")
        + f"{fresh}-6\0,1,{T},\r\n".encode()
        + f'{fresh}-7,1,{T},"never closed\r\n'.encode()
        + b"\r\n"
        + f",1,{T},\r\n".encode()
        + f"{fresh}-10,1,2026-13-01T00:00:00Z,\r\n".encode()
        + f'{fresh}-11,"x\0y",{T},\r\n'.encode()
        + f'{fresh}-12,"1"0,{T},\r\n'.encode()
        + f"{'r' * 600},1,{T},\r\n".encode()
        + f"{fresh}-14,1,{T},last without an end".encode()
    )
    done = labels.run("load", "a.csv", "--json")
    assert done.status == 1
    assert counts(done.json) == {"read": 11, "accepted": 3, "duplicates": 0, "rejected": 8, "skipped": 0}
    assert rejected_lines(labels.folder / "a.csv.rejected.ndjson") == [
        {"line": 4, "code": "column_count", "loc": ""},
        {
            "line": 5,
            "code": "invalid_unicode",
            "loc": "",
            "byte": (labels.folder / "a.csv").read_bytes().index(0xEF, 3),
        },
        {"line": 6, "code": "control_character", "loc": "request_id", "column": "request_id"},
        {"line": 7, "code": "invalid_csv", "loc": ""},
        {"line": 9, "code": "empty", "loc": "request_id", "column": "request_id"},
        {"line": 10, "code": "invalid_time", "loc": "observed_at", "column": "observed_at"},
        {"line": 12, "code": "invalid_csv", "loc": ""},
        {"line": 13, "code": "too_long", "loc": "request_id", "column": "request_id"},
    ]
    assert values(server, f"{fresh}-2", f"{fresh}-11", f"{fresh}-14") == [0, "x\0y", 1]


def test_a_file_in_another_encoding_can_be_read(server: RunningServer, labels: Commands, fresh: str) -> None:
    (labels.folder / "a.csv").write_bytes(f"request_id,value,observed_at\n{fresh},na\xefve,{T}\n".encode("latin-1"))
    assert labels.run("load", "a.csv", "--encoding", "latin-1").status == 0
    assert values(server, fresh) == ["na\xefve"]
    (labels.folder / "b.csv").write_text("request_id,value\na,1\n", "utf-16")
    done = labels.run("load", "b.csv")
    assert (done.status, "UTF-16" in done.err) == (2, True)


def test_a_hostile_column_name_is_only_a_name(server: RunningServer, labels: Commands, fresh: str) -> None:
    name = "x'); DROP TABLE label_events; --[bold red]{{7*7}}"
    (labels.folder / "a.csv").write_text(f'request_id,"{name}",\x1b[31mred,observed_at\n{fresh},0,1,{T}\n')
    done = labels.run("load", "a.csv", "--value-column", name)
    assert done.status == 0, done.err
    assert "\x1b" not in done.out
    assert "\\x1b[31mred" in done.out
    assert [(event["name"], event["value"]) for event in events(server, fresh)] == [(name, 0)]


def test_parquet_keeps_its_types(server: RunningServer, labels: Commands, fresh: str) -> None:
    id_ = UUID(int=7)
    table = pa.table(
        {
            "request_id": [f"{fresh}-{n}" for n in range(4)],
            "as_int": pa.array([0, None, 2, 3], pa.int8()),
            "as_float": pa.array([0.0, 1.5, float("nan"), None], pa.float32()),
            "as_bool": pa.array([False, True, None, None]),
            "as_text": pa.array(["0", "", None, "x"]).dictionary_encode(),
            "as_money": pa.array([Decimal("1.50"), None, None, None], pa.decimal128(9, 2)),
            "observed_at": pa.array([datetime(2026, 11, 1, 10, tzinfo=UTC)] * 4, pa.timestamp("ns", "UTC")),
            "tags.order": [id_.bytes.hex()] * 4,
            "unused.struct": [{"a": 1}] * 4,
        }
    )
    pq.write_table(table, labels.folder / "a.parquet", row_group_size=2)
    columns = ["as_int", "as_float", "as_bool", "as_text", "as_money"]
    done = labels.run("load", "a.parquet", *(word for name in columns for word in ("--value-column", name)), "--json")
    assert counts(done.json) == {"read": 20, "accepted": 11, "duplicates": 0, "rejected": 1, "skipped": 8}
    assert rejected_lines(labels.folder / "a.parquet.rejected.ndjson") == [
        {"row": 3, "code": "not_finite", "loc": "value", "column": "as_float"}
    ]
    found = {event["name"]: event["value"] for event in events(server, f"{fresh}-0")}
    expected = {"as_int": 0, "as_float": 0.0, "as_bool": False, "as_text": "0", "as_money": 1.5}
    assert {name: repr(value) for name, value in found.items()} == {
        name: repr(value) for name, value in expected.items()
    }
    assert {event["name"]: event["value"] for event in events(server, f"{fresh}-1")}["as_text"] == ""


def test_parquet_ids_and_times_of_other_types(server: RunningServer, labels: Commands, fresh: str) -> None:
    """Whole numbers are IDs, a date is the midnight of a zone, a time without a zone needs one."""
    number = abs(hash(fresh)) % 10**12
    pq.write_table(
        pa.table({"id": [number], "value": [1], "on": [date(2026, 11, 1)]}), labels.folder / "a.parquet"
    )  # fmt: skip
    mapped = ["--column", "request_id=id", "--column", "observed_at=on"]
    assert labels.run("load", "a.parquet", *mapped).status == 1
    assert labels.run("load", "a.parquet", *mapped, "--timezone", "Europe/Berlin").status == 0
    assert events(server, str(number))[0]["observed_at"] == "2026-10-31T23:00:00Z"


def test_ndjson_has_the_form_of_the_webhook(server: RunningServer, labels: Commands, fresh: str) -> None:
    lines = [
        json.dumps({"request_id": f"{fresh}-1", "value": False, "observed_at": T, "tags": {"a": "b"}}),
        "",
        json.dumps({"request_id": f"{fresh}-3", "value": None}),
        '{"request_id": "x", "value": NaN}',
        '{"request_id": "x", "value"',
        "[1, 2]",
        json.dumps({"request_id": f"{fresh}-7", "op": "retract", "observed_at": 1793527200}),
        '{"request_id": "\\ud800", "value": 1}',
        json.dumps({"request_id": f"{fresh}-9", "value": {"deep": 1}}),
    ]
    done = labels.run("load", "-", "--json", stdin="\n".join(lines).encode())
    assert counts(done.json) == {"read": 8, "accepted": 2, "duplicates": 0, "rejected": 5, "skipped": 1}
    listed = rejected_lines(labels.folder / "stdin.rejected.ndjson")
    assert [(one["line"], one["code"]) for one in listed] == [
        (4, "not_finite"), (5, "invalid_json"), (6, "wrong_type"), (8, "invalid_unicode"), (9, "wrong_type"),
    ]  # fmt: skip
    [first], [second] = events(server, f"{fresh}-1"), events(server, f"{fresh}-7")
    assert (first["value"], first["tags"], second["op"], second["observed_at"]) == (False, {"a": "b"}, "retract", T)


@pytest.mark.parametrize("packed", ["plain", "gz", "zst", "two members"])
def test_compressed_files_and_pipes_are_read_like_plain_ones(
    server: RunningServer, labels: Commands, fresh: str, packed: str
) -> None:
    halves = [f"request_id,value,observed_at\n{fresh}-1,1,{T}\n", f"{fresh}-2,2,{T}\n"]
    text = "".join(halves).encode()
    squeeze = zstandard.ZstdCompressor().compress
    content, name = {
        "plain": (text, "a.csv"),
        "gz": (gzip.compress(text), "a.csv.gz"),
        "zst": (squeeze(text), "a.csv.zst"),
        "two members": (b"".join(squeeze(half.encode()) for half in halves), "a.csv.zst"),
    }[packed]
    assert counts(labels.run("load", "-", "--json", stdin=content).json)["accepted"] == 2
    (labels.folder / name).write_bytes(content)
    assert counts(labels.run("load", name, "--json").json)["duplicates"] == 2
    assert values(server, f"{fresh}-1", f"{fresh}-2") == [1, 2]


@pytest.mark.parametrize("squeeze", [gzip.compress, zstandard.ZstdCompressor().compress], ids=["gz", "zst"])
def test_a_compressed_file_that_is_cut_off_is_never_taken_for_a_whole_one(
    server: RunningServer, labels: Commands, fresh: str, squeeze: Any
) -> None:
    """What came before the cut is stored, and the command says that it is not everything."""
    text = "request_id,value,observed_at\n" + "".join(f"{fresh}-{n * n},{n},{T}\n" for n in range(20_000))
    content = squeeze(text.encode())
    (labels.folder / "a.csv").write_bytes(content[: len(content) // 2])
    done = labels.run("load", "a.csv", "--json")
    assert done.status == 1
    assert done.json["complete"] is False
    assert counts(done.json)["accepted"] == done.json["rows"] > 1000
    assert labels.run("load", "a.csv", "--restart").status == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.csv"], "no column is called request_id; say which one it is with --column request_id=COLUMN"),
        (["a.csv", "--column", "request_id=nope"], "no column is called nope; the columns are: id, value, value"),
        (["a.csv", "--column", "request_id=id"], "two columns are called value"),
        (["a.csv", "--column", "colour=id"], "colour is no field of a label event"),
        (["a.csv", "--set", "value"], "write FIELD=..."),
        (["a.csv", "--timezone", "Mars/Olympus"], "is no time zone"),
        (["a.csv", "--value-type", "complex"], "--value-type must be one of"),
        (["none.csv"], "none.csv: no such file"),
        (["what.bin"], "use --format"),
        (["empty.csv"], "no header"),
        (["list.json"], "one JSON list"),
        (["a.csv", "--format", "parquet"], "no Parquet"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line_before_anything_is_sent(
    labels: Commands, words: list[str], said: str
) -> None:
    (labels.folder / "a.csv").write_text("id,value,value\nr,1,1\n")
    (labels.folder / "what.bin").write_bytes(b"x")
    (labels.folder / "empty.csv").write_text("\n")
    (labels.folder / "list.json").write_text('[{"request_id": "r", "value": 1}]')
    done = labels.run("load", *words)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("upshot: ")
    assert done.err.count("\n") == 1
    assert said in done.err


def test_a_dry_run_shows_what_would_be_stored_and_sends_nothing(
    server: RunningServer, labels: Commands, fresh: str
) -> None:
    rows = "".join(f"{fresh}-{n},{'x' * 70_000 if n == 3 else n},{T}\n" for n in range(6))
    (labels.folder / "a.csv").write_text(f"request_id,value,observed_at\n{rows}")
    dry = labels.run("load", "a.csv", "--dry-run", "--show", "2", "--json")
    assert dry.status == 1
    [file] = dry.json["files"]
    assert {name: file[name] for name in ("rows", "events", "rejected", "skipped")} == {
        "rows": 6, "events": 5, "rejected": 1, "skipped": 0,
    }  # fmt: skip
    assert file["first_rejected"] == [{"line": 5, "code": "too_long", "loc": "value", "column": "value"}]
    assert server.http.get(f"/v1/predictions/{fresh}-0").status_code == 404
    assert sorted(path.name for path in labels.folder.iterdir()) == ["a.csv"]
    assert labels.run("load", "a.csv").status == 1
    for event in file["first"]:
        [stored] = events(server, event["request_id"])
        assert {name: stored[name] for name in ("name", "op", "value", "label_id")} == {
            name: event[name] for name in ("name", "op", "value", "label_id")
        }


def test_nothing_moves_where_no_terminal_is(labels: Commands, fresh: str) -> None:
    (labels.folder / "a.csv").write_text(f"request_id,value,observed_at\n{fresh},1,{T}\n")
    done = labels.run("load", "a.csv", "--json")
    assert (done.err, done.out.count("\n")) == ("", 1)


def test_without_a_server_the_status_says_try_again(labels: Commands) -> None:
    (labels.folder / "a.csv").write_text("request_id,value\nr,1\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = labels.run("load", "a.csv", url=f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert done.status == 3
    assert "start one with `upshot up`" in done.err


def test_a_damaged_parquet_file_is_no_crash(labels: Commands, fresh: str) -> None:
    table = pa.table({"request_id": [f"{fresh}-{n}" for n in range(5000)], "value": list(range(5000))})
    path = labels.folder / "a.parquet"
    pq.write_table(table, path, row_group_size=1000, compression="none", use_dictionary=False)
    whole = path.read_bytes()
    start = pq.ParquetFile(path).metadata.row_group(3).column(0).data_page_offset
    path.write_bytes(whole[:start] + struct.pack("<200q", *[-1] * 200) + whole[start + 1600 :])
    done = labels.run("load", "a.parquet")
    assert done.status == 1
    assert "damaged behind row" in done.err


def test_a_list_of_rejected_rows_that_cannot_be_written_is_said(labels: Commands, fresh: str) -> None:
    (labels.folder / "a.csv").write_text("request_id,value\n,1\n")
    done = labels.run("load", "a.csv", "--rejected", Path("no/such/folder.ndjson"))
    assert done.status == 2
    assert "choose another file with --rejected" in done.err
