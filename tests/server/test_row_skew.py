"""Row-level skew as a user has it: a file, the command line, a Python function, against the real server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.running import RunningServer
from tests.waiting import eventually
from upshot_monitoring.row_skew.recompute import CannotCompare, compare_recomputed

MODEL = "shop/fraud"
START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("row-skew") / "data")
    running.start()
    events = [
        {
            "request_id": f"r{n}", "model": MODEL, "prediction": (n % 100) / 100,
            "predicted_at": (START + timedelta(minutes=n)).isoformat(),
            "features": {
                "amount": n / 7, "country": "DE" if n % 3 else None, "embedding": [n, 0.5], "count": n,
                **({"mixed": [3, 2.5, "3", True, None][n % 5]} if n % 2 else {}),
            },
            "entities": {"user": f"u{n % 10}"},
            "feature_times": {"amount": (START + timedelta(minutes=n - 5)).isoformat()},
        }
        for n in range(400)
    ]  # fmt: skip
    assert running.post("/v1/predictions", events).json()["accepted"] == 400
    running.until_joined()
    yield running
    running.end()


def sent(server: RunningServer, table: pa.Table, folder: Path, **params: Any) -> dict[str, Any]:
    """Send a table as Parquet and wait for its comparison."""
    file = folder / "again.parquet"
    pq.write_table(table, file)
    answer = server.http.post(
        f"/v1/models/{MODEL}/row-skews",
        content=file.read_bytes(),
        params=params,
        headers={"content-type": "application/vnd.apache.parquet"},
    )
    assert answer.status_code == 202, answer.text
    return finished(server, answer.json()["id"])


def finished(server: RunningServer, id_: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = server.http.get(f"/v1/row-skews/{id_}").json()
        return found if found["status"] in ("done", "failed") else None

    found = eventually(look, 60)
    assert found is not None
    return found


def upshot(server: RunningServer, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command against the server."""
    command = [sys.executable, "-m", "upshot_server", *words, "--url", server.url]
    return subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)


def test_an_export_differs_from_what_was_served_in_nothing(server: RunningServer) -> None:
    """All kinds, nulls, absent values and mixtures: an export, sent as recomputed, is equal in every value."""
    made = server.export(model=MODEL)
    file = Path(made["location"]) / "part-00000.parquet"
    found = sent(server, pq.read_table(file), file.parent.parent)
    assert found["error"] is None
    assert found["result"]["rows"] == {
        "given": 400, "without_request_id": 0, "repeated": 0, "not_served": 0, "matched": 400, "compared": 400,
    }  # fmt: skip
    assert {one["feature"] for one in found["result"]["features"]} == {
        "amount",
        "country",
        "embedding",
        "count",
        "mixed",
    }
    for one in found["result"]["features"]:
        assert one["equal"] == one["compared"], one
        assert one["compared"] + one["neither"] == 400
    assert found["result"]["differing"] == 0
    listed = server.http.get(f"/v1/models/{MODEL}/row-skews").json()["row_skews"]
    assert found["id"] in {one["id"] for one in listed}
    assert all("features" not in (one["result"] or {}) for one in listed)


def test_the_command_says_what_differs_and_ends_with_3(server: RunningServer, tmp_path: Path) -> None:
    """0 where nothing differs, 3 where a feature does, 1 where the file is none; --json is the whole comparison."""
    file = tmp_path / "again.csv"
    file.write_text("request_id,amount,count\n" + "".join(f"r{n},{n / 7 + (n == 7) / 100},{n}\n" for n in range(50)))
    differs = upshot(server, "skew", "rows", str(file), "--model", MODEL)
    assert differs.returncode == 3, differs.stderr
    assert "50 rows compared" in differs.stdout
    assert "1 of 2 features differ" in differs.stdout
    as_json = upshot(server, "skew", "rows", str(file), "--model", MODEL, "--tolerance", "amount=0,0.02", "--json")
    assert as_json.returncode == 0, as_json.stdout
    [amount] = [one for one in json.loads(as_json.stdout)["result"]["features"] if one["feature"] == "amount"]
    assert amount["tolerance"] == {"absolute": 0.0, "relative": 0.02}
    assert amount["differences"]["absolute"]["max"] == pytest.approx(0.01)
    file.write_text("id,amount\nr1,2\n")
    refused = upshot(server, "skew", "rows", str(file), "--model", MODEL)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "request_id: missing_column" in refused.stderr


def test_a_function_is_given_who_and_when_and_its_values_are_compared(server: RunningServer) -> None:
    """In pages; what it does not return is missing, and its mistakes are found row by row."""
    seen: list[pa.Table] = []

    def recompute(served: pa.Table) -> list[dict[str, Any]]:
        seen.append(served)
        rows = []
        for row in served.to_pylist():
            n = round((row["predicted_at"] - START).total_seconds() / 60)
            assert row["entity__user"] == f"u{n % 10}"
            assert row["predicted_at"] - row["feature_time__amount"] == timedelta(minutes=5)
            if n != 13:
                rows.append({"request_id": row["request_id"], "amount": n / 7, "count": n + (n == 14)})
        return rows

    asked = {"model": MODEL, "start": START, "end": START + timedelta(minutes=100), "url": server.url}
    found = compare_recomputed(recompute, rows_at_once=30, **asked)["result"]  # type: ignore[arg-type]
    assert [table.num_rows for table in seen] == [30, 30, 30, 10]
    assert found["rows"]["compared"] == 100
    by_name = {one["feature"]: one for one in found["features"]}
    assert (by_name["amount"]["equal"], by_name["amount"]["missing"]) == (99, 1)
    assert (by_name["count"]["equal"], by_name["count"]["mismatch"], by_name["count"]["missing"]) == (98, 1, 1)
    [example] = by_name["count"]["examples"]["mismatch"]
    assert (example["request_id"], example["served"]["value"], example["recomputed"]["value"]) == ("r14", 14, 15)
    with pytest.raises(CannotCompare, match="not one for each"):
        compare_recomputed(lambda _: [{"amount": 1.0}], **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("params", "kind", "status", "code"),
    [
        ({}, "application/json", 415, "unsupported_media_type"),
        ({"absolute": "-1"}, "text/csv", 422, "invalid_rule"),
        ({"relative": "nan"}, "text/csv", 422, "invalid_rule"),
        ({"tolerance": "amount"}, "text/csv", 422, "invalid_rule"),
        ({"allowed": "2"}, "text/csv", 422, "invalid_rule"),
        ({}, "text/csv", 422, "invalid_columns"),
    ],
)
def test_a_wrong_question_is_a_problem(
    server: RunningServer, params: dict[str, str], kind: str, status: int, code: str
) -> None:
    answer = server.http.post(
        f"/v1/models/{MODEL}/row-skews", content=b"a,b\n1,2\n", params=params, headers={"content-type": kind}
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_what_is_not_known_is_404(server: RunningServer) -> None:
    assert server.http.get("/v1/row-skews/nothing").json()["code"] == "unknown_row_skew"
    for path in ("served", "row-skews"):
        assert server.http.get(f"/v1/models/nobody/{path}").status_code == 404


def test_served_rows_are_paged_without_a_gap_or_a_repeat(server: RunningServer) -> None:
    seen, cursor = [], ""
    while True:
        page = server.http.get(f"/v1/models/{MODEL}/served", params={"limit": 33, "cursor": cursor}).json()
        seen += [row["request_id"] for row in page["rows"]]
        cursor = page["next"]
        if not cursor:
            break
    assert sorted(seen) == sorted(f"r{n}" for n in range(400))
    wrong = server.http.get(f"/v1/models/{MODEL}/served", params={"cursor": "?"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_cursor")
