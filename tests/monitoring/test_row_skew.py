"""Row-level skew: what the store finds is what plain Python finds, on both stores, whatever the values are."""

from __future__ import annotations

import math
import threading
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.monitoring.conftest import START
from tests.monitoring.row_skew_oracle import expect
from tests.waiting import eventually
from upshot.wire import Prediction
from upshot_joiner.clock import FixedClock, to_micros
from upshot_joiner.config import ModelConfig
from upshot_joiner.errors import Problem
from upshot_joiner.intake.check import check_prediction
from upshot_joiner.store import rows
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_monitoring.row_skew import comparison
from upshot_monitoring.row_skew.compare import compare, staging_table
from upshot_monitoring.row_skew.jobs import RowSkews
from upshot_monitoring.row_skew.rows import table_of
from upshot_monitoring.row_skew.rule import Rule, Tolerance
from upshot_monitoring.row_skew.table import Form

OUTCOMES = ("neither", "equal", "mismatch", "kind_mismatch", "missing", "extra")


def serve(
    store: Store, model: str, predictions: list[dict[str, Any]], received_us: int = to_micros(START)
) -> ServedTables:
    """Store predictions as the writer does."""
    served = ServedTables(store)
    checked = [check_prediction(Prediction(model=model, predicted_at=START.timestamp(), **one)) for one in predictions]
    cells = rows.feature_cells(checked)
    served.grow(model, cells.kinds, cells.shapes)
    table = served.table(model)
    assert table is not None
    block = rows.served_block(checked, cells, served.columns(model), ModelConfig(), received_us)
    store.insert(table, block)
    store.insert("predictions", rows.spine_block(checked, received_us))
    return served


def compared(
    store: Store,
    served: ServedTables,
    model: str,
    table: pa.Table,
    folder: Path,
    asked: Rule | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Compare a table, sent as Parquet."""
    file = folder / f"{uuid4().hex}.parquet"
    pq.write_table(table, file)
    return compare(store, served, model, file, "parquet", asked or Rule(), id_=uuid4().hex, **more)


def of(answer: dict[str, Any], name: str) -> dict[str, Any]:
    """One feature of an answer."""
    [found] = [one for one in answer["features"] if one["feature"] == name]
    return found  # type: ignore[no-any-return]


def counts(found: dict[str, Any]) -> dict[str, int]:
    """Its outcomes that happened."""
    return {word: found[word] for word in OUTCOMES if found[word]}


numbers = st.one_of(
    st.integers(-3, 3), st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**70]),
    st.sampled_from([0.0, -0.0, 1.0, 1.05, 2.0**53, 3.0, math.nan, math.inf, -math.inf, 1e300, 5e-324]),
)  # fmt: skip
values = st.one_of(
    numbers, st.none(), st.booleans(), st.sampled_from(["", "3", "a", "null"]),
    st.lists(st.sampled_from([0.0, 1.0, 1.05, math.nan, math.inf]), max_size=2), st.lists(st.integers(0, 2), max_size=2),
    st.just([2**53 + 1]), st.just([2.0**53]),
)  # fmt: skip
features = st.dictionaries(st.sampled_from(["f", "g", "h"]), values)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Served rows and recomputed rows, among them repeated and unserved ones; most values are recomputed as they were served."""
    identities = draw(
        st.lists(
            st.tuples(st.sampled_from("abcdef"), st.sampled_from(["", "i"]), st.sampled_from(["1", "2"])),
            unique=True, min_size=1, max_size=12,
        )
    )  # fmt: skip
    served = [
        {"request_id": request, "item_id": item, "model_version": version, "features": draw(features)}
        for request, item, version in identities
    ]
    recomputed = []
    for one in served:
        again = {**one, "features": {name: value for name, value in one["features"].items() if draw(st.integers(0, 4))}}
        again["features"] |= draw(features)
        again["model_version"] = draw(st.sampled_from([one["model_version"], None]))
        recomputed += [again] * draw(st.integers(0, 2))
    recomputed += draw(st.lists(st.builds(_unserved, features), max_size=2))
    return served, draw(st.permutations(recomputed))


def _unserved(found: dict[str, Any]) -> dict[str, Any]:
    return {"request_id": "nobody", "item_id": "", "model_version": None, "features": found}


@given(
    world=worlds(),
    absolute=st.sampled_from([0.0, 0.06]),
    relative=st.sampled_from([0.0, 0.05]),
    same=st.booleans(),
    blanks=st.booleans(),
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_row_level_skew_is_what_plain_python_finds(
    any_store: Store, tmp_path: Path, world: Any, absolute: float, relative: float, same: bool, blanks: bool
) -> None:
    """Counts, pairs of states and sizes of every feature; repeated and unserved rows apart; whatever is compared with whatever."""
    was, again = world
    model = uuid4().hex
    served = serve(any_store, model, was)
    table = table_of([{**{k: v for k, v in one.items() if k != "features"}, **one["features"]} for one in again])
    names = [name.removeprefix("feature__") for name in table.column_names if name.startswith("feature__")]
    if not names:
        return
    asked = Rule(Tolerance(absolute, relative), same_numbers=same, same_blanks=blanks)
    answer = compared(any_store, served, model, table, tmp_path, asked)
    wanted = expect(was, again, names, absolute, relative, same_numbers=same, same_blanks=blanks)
    assert {name: answer["rows"][name] for name in ("given", "repeated", "not_served", "compared")} == {
        "given": len(again), **{name: wanted[name] for name in ("repeated", "not_served", "compared")},
    }  # fmt: skip
    for name in names:
        found, truth = of(answer, name), wanted["features"][name]
        assert counts(found) == dict(truth["counts"])
        assert found["rows"] == sum(truth["counts"].values())
        states: Counter[tuple[str, str]] = Counter()
        for one in found["states"]:
            states[one["served"], one["recomputed"]] += one["rows"]
        assert states == truth["states"]
        _same_sizes(found["differences"], truth["sizes"])


def _same_sizes(found: dict[str, Any], sizes: list[tuple[float, float]]) -> None:
    assert found["rows"] == len(sizes)
    for position, name in enumerate(("absolute", "relative")):
        truth = sorted(one[position] for one in sizes)
        if not truth:
            assert found[name] == {"mean": None, "p50": None, "p99": None, "max": None}
            continue
        assert found[name]["max"] == pytest.approx(truth[-1], rel=1e-12)
        assert found[name]["mean"] == pytest.approx(sum(truth) / len(truth), rel=1e-9)
        for share, word in ((0.5, "p50"), (0.99, "p99")):
            assert found[name][word] == pytest.approx(truth[math.ceil(share * len(truth)) - 1], rel=0.0101)


def test_many_ranges_of_keys_add_up_to_one(any_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the rows are cut into ranges, the answer is the same to the last digit; and the staging table is gone."""
    model = uuid4().hex
    was = [{"request_id": f"r{i}", "features": {"x": i / 7, "y": "a"}} for i in range(300)]
    served = serve(any_store, model, was)
    again = [{"request_id": f"r{i}", "x": i / 7 + (i % 5) / 1000, "y": "ab"[i % 3 == 0]} for i in range(350)]
    whole = compared(any_store, served, model, table_of(again + again[:20]), tmp_path)
    assert (whole["rows"]["compared"], whole["rows"]["not_served"], whole["rows"]["repeated"]) == (300, 50, 20)
    assert counts(of(whole, "x")) == {"equal": 60, "mismatch": 240}
    for rows_of_range in (7, 64):
        monkeypatch.setattr(comparison, "ROWS_PER_RANGE", rows_of_range)
        assert compared(any_store, served, model, table_of(again + again[:20]), tmp_path) == whole
    left = any_store.query(
        "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name LIKE 'staged_recomputed_%'"
    )
    assert left == [(0,)]


def test_examples_are_the_largest_differences_with_both_values(store: Store, tmp_path: Path) -> None:
    """Of each outcome so many, those that differ most first, values with their kind."""
    model = uuid4().hex
    was = [{"request_id": f"r{i}", "features": {"x": 1.0, "k": 3}} for i in range(9)]
    was += [{"request_id": "n", "features": {"x": math.nan}}, {"request_id": "gone", "features": {"x": None, "k": 3}}]
    served = serve(store, model, was)
    again: list[dict[str, Any]] = [{"request_id": f"r{i}", "x": 1.0 + i / 10, "k": 3.0} for i in range(9)]
    again += [
        {"request_id": "n", "x": math.inf, "k": "3"},
        {"request_id": "gone", "k": "3"},
        {"request_id": "who", "x": 1},
    ]
    answer = compared(store, served, model, table_of(again), tmp_path, Rule(examples=2))
    x, k = of(answer, "x"), of(answer, "k")
    assert counts(x) == {"equal": 1, "mismatch": 9, "missing": 1}
    shown = [(one["request_id"], one["served"], one["recomputed"]) for one in x["examples"]["mismatch"]]
    # What cannot be measured stands before what can.
    assert shown == [
        ("n", {"kind": "nan", "value": None}, {"kind": "float", "value": "inf"}),
        ("r8", {"kind": "float", "value": 1.0}, {"kind": "float", "value": 1.8}),
    ]
    assert x["examples"]["missing"][0]["recomputed"] == {"kind": "absent", "value": None}
    assert counts(k) == {"kind_mismatch": 10, "extra": 1}
    assert k["examples"]["extra"][0]["served"] == {"kind": "absent", "value": None}
    assert len(k["examples"]["kind_mismatch"]) == 2
    assert answer["not_served"] == [{"request_id": "who", "item_id": "", "model_version": None}]
    assert (x["differs"], answer["differing"]) == (True, 2)


def test_a_tolerance_is_of_its_feature_and_a_share_may_be_allowed(store: Store, tmp_path: Path) -> None:
    """Exact by default; 2 of 10 rows differ, and that is allowed only where it is said."""
    model = uuid4().hex
    served = serve(store, model, [{"request_id": f"r{i}", "features": {"x": 10.0, "y": 10.0}} for i in range(10)])
    table = table_of([{"request_id": f"r{i}", "x": 10.5 if i < 2 else 10.0, "y": 10.5} for i in range(10)])
    exact = compared(store, served, model, table, tmp_path)
    assert [(one["feature"], one["different_share"], one["differs"]) for one in exact["features"]] == [
        ("y", 1.0, True), ("x", 0.2, True),
    ]  # fmt: skip
    rule = Rule(by_feature={"y": Tolerance(absolute=0.5)}, allowed=0.2)
    mild = compared(store, served, model, table, tmp_path, rule)
    assert (of(mild, "y")["equal"], of(mild, "x")["differs"], mild["differing"]) == (10, False, 0)
    # A difference within the tolerance is told all the same: it is what a tolerance is chosen by.
    assert of(mild, "y")["differences"]["absolute"]["max"] == 0.5


def test_only_what_was_received_by_then_is_compared(store: Store, tmp_path: Path) -> None:
    """The same table as of the same moment has the same answer, whatever came since."""
    model = uuid4().hex
    serve(store, model, [{"request_id": "a", "features": {"x": 1.0}}])
    before = compared(
        store,
        ServedTables(store),
        model,
        table_of([{"request_id": "a", "x": 1.0}, {"request_id": "b", "x": 2.0}]),
        tmp_path,
    )
    served = serve(store, model, [{"request_id": "b", "features": {"x": 1.0}}], to_micros(START) + 60_000_000)
    table = table_of([{"request_id": "a", "x": 1.0}, {"request_id": "b", "x": 2.0}])
    assert compared(store, served, model, table, tmp_path, as_of_us=before["as_of"]) == before
    assert compared(store, served, model, table, tmp_path)["rows"]["not_served"] == 0


def test_csv_has_no_kinds_and_is_read_as_what_was_served(store: Store, tmp_path: Path) -> None:
    """An empty cell is the null, NaN or nothing that was served, a quoted one the empty text; the others are of the served kind."""
    model = uuid4().hex
    features = {
        "i": 3,
        "f": 2.5,
        "b": True,
        "s": "007",
        "v": [1.0, 2.0],
        "n": None,
        "e": "",
        "m": 1.0,
        "q": math.nan,
        "x": 1.5,
        "w": 1.0,
    }
    other = {"request_id": "2", "features": {"a": 1}}
    served = serve(store, model, [{"request_id": "1", "features": features}, other])
    file = tmp_path / "again.csv"
    file.write_text('request_id,i,f,b,s,v,n,e,m,q,x,a,w\n1,3.0,2.50,true,007,"[1, 2]",,"",oops,,,,1.01\n')
    answer = compare(store, served, model, file, "csv", Rule(), id_=uuid4().hex)
    assert {one["feature"]: counts(one) for one in answer["features"]} == {
        **{name: {"equal": 1} for name in "ifbsvneq"}, **{name: {"mismatch": 1} for name in "xw"},
        "m": {"kind_mismatch": 1}, "a": {"neither": 1},
    }  # fmt: skip


def test_a_broken_column_is_a_row_and_no_failure(store: Store, tmp_path: Path) -> None:
    """All null, constant, of another type, never served, an empty table, a type that is no feature."""
    model = uuid4().hex
    served = serve(store, model, [{"request_id": f"r{i}", "features": {"x": float(i), "c": 1}} for i in range(5)])
    ids = [f"r{i}" for i in range(5)]
    table = pa.table(
        {
            "request_id": ids, "x": pa.nulls(5), "c": ["1"] * 5, "new": [{"a": 1}] * 5, "never": [1] * 5,
            "when": pa.array([0] * 5, pa.timestamp("us")), "prediction": [0.5] * 5,
        }
    )  # fmt: skip
    answer = compared(store, served, model, table, tmp_path)
    assert {one["feature"]: counts(one) for one in answer["features"]} == {
        "x": {"mismatch": 5}, "c": {"kind_mismatch": 5}, "never": {"extra": 5}, "when": {"extra": 5},
    }  # fmt: skip
    assert sorted(answer["ignored"]) == ["new", "prediction"]
    empty = compared(store, served, model, table.slice(0, 0), tmp_path)
    assert {one["differs"] for one in empty["features"]} == {None}
    assert empty["rows"]["given"] == 0


@pytest.mark.parametrize(
    ("columns", "code", "loc"),
    [
        ({"x": [1.0]}, "invalid_columns", "request_id"),
        ({"request_id": [1.0], "x": [1.0]}, "invalid_columns", "request_id"),
        ({"request_id": ["a"], "x": [1.0], "feature__x": [1.0]}, "invalid_columns", "feature__x"),
        ({"request_id": ["a"], "prediction": [1.0]}, "no_features", None),
        ({"request_id": ["a"], "x": [1.0], "feature_kind__x": ["real"]}, "invalid_kind", "feature_kind__x"),
        ({"request_id": ["a"], "x": ["{"], "feature_kind__x": ["int"]}, "invalid_value", "x"),
    ],
)
def test_a_table_that_is_none_is_refused_and_says_where(
    store: Store, tmp_path: Path, columns: dict[str, list[Any]], code: str, loc: str | None
) -> None:
    """Every problem names the column, and never a value."""
    model = uuid4().hex
    served = serve(store, model, [{"request_id": "a", "features": {"x": 1.0}}])
    with pytest.raises(Problem) as refused:
        compared(store, served, model, pa.table(columns), tmp_path)
    assert (refused.value.status, refused.value.code) == (422, code)
    assert [one["loc"] for one in refused.value.errors] == ([loc] if loc else [])


def test_what_breaks_off_is_refused(store: Store, tmp_path: Path) -> None:
    """No Parquet, half an Arrow stream, a CSV line with too many cells."""
    model = uuid4().hex
    served = serve(store, model, [{"request_id": "a", "features": {"x": 1.0}}])
    file = tmp_path / "table"
    whole = pa.BufferOutputStream()
    with pa.ipc.new_stream(whole, pa.schema([("request_id", pa.string()), ("x", pa.float64())])) as out:
        out.write_table(pa.table({"request_id": ["a"] * 1000, "x": [1.0] * 1000}))
    half = whole.getvalue().to_pybytes()[:4000]
    forms: list[tuple[Form, bytes]] = [
        ("parquet", b"PAR1 no"),
        ("arrow", half),
        ("csv", b"request_id,x\na,1\nb,1,2\n"),
        ("csv", b"\xff"),
    ]
    for form, body in forms:
        file.write_bytes(body)
        with pytest.raises(Problem) as refused:
            compare(store, served, model, file, form, Rule(), id_=uuid4().hex)
        assert refused.value.code in ("invalid_table", "invalid_columns")


def test_what_a_stopped_server_left_is_failed_and_cleared_away(store: Store, tmp_path: Path, fresh: str) -> None:
    """Queued and never compared, with its staging table half filled: the next server says so, and nothing is left."""
    serve(store, fresh, [{"request_id": "a", "features": {"x": 1.0}}])
    clock = FixedClock(START)
    file = tmp_path / "table.csv"
    file.write_text("request_id,x\na,1\n")
    left = RowSkews(store, ServedTables(store), clock, tmp_path / "kept", owner=fresh)
    id_ = left.submit(fresh, file, "csv", {})["id"]
    assert left.get(id_)["status"] == "queued"
    store.command(f"CREATE TABLE {staging_table(id_)} (n UInt64) ENGINE = MergeTree ORDER BY n")
    other = RowSkews(store, ServedTables(store), clock, tmp_path / "kept", owner="another server")
    other.start()
    other.stop()
    assert left.get(id_)["status"] == "queued", "another server's comparison is its own affair"
    assert (tmp_path / "kept" / id_).exists(), "and so is its table, in a folder that they share"
    restarted = RowSkews(store, ServedTables(store), clock, tmp_path / "kept", owner=fresh)
    restarted.start()
    restarted.stop()
    found = restarted.get(id_)
    assert (found["status"], "send it again" in found["error"]) == ("failed", True)
    assert list((tmp_path / "kept").iterdir()) == []
    assert store.query(
        "SELECT count() FROM system.tables WHERE name = {name:String}", {"name": staging_table(id_)}
    ) == [(0,)]


def test_too_many_comparisons_are_refused_and_a_failed_one_harms_no_other(
    store: Store, tmp_path: Path, fresh: str
) -> None:
    """Five may wait. One whose table breaks off fails with the reason; the next is made all the same."""
    serve(store, fresh, [{"request_id": "a", "features": {"x": 1.0}}])
    jobs = RowSkews(store, ServedTables(store), FixedClock(START), tmp_path / "kept", owner=fresh)
    ids = []
    for body in ("request_id,x\na,1\nb\n", *["request_id,x\na,1\n"] * 4):
        file = tmp_path / "table.csv"
        file.write_text(body)
        ids.append(jobs.submit(fresh, file, "csv", {})["id"])
    with pytest.raises(Problem) as refused:
        jobs.check()
    assert (refused.value.status, refused.value.retry_after_s) == (503, 30)
    assert sorted(file.name for file in (tmp_path / "kept").iterdir()) == sorted(ids)
    jobs._thread = threading.Thread(target=jobs._work)  # as start() does, without clearing away what waits
    jobs._thread.start()
    eventually(lambda: all(jobs.get(id_)["status"] in ("done", "failed") for id_ in ids), 60)
    jobs.stop()
    assert [jobs.get(id_)["status"] for id_ in ids] == ["failed", "done", "done", "done", "done"]
    assert jobs.get(ids[0])["error"] == "The table cannot be read to its end."
    assert list((tmp_path / "kept").iterdir()) == []
