"""Row-level skew of a Python function: it recomputes features for the rows that were served, and the server compares.

For the machine that has the feature pipeline. Nothing of the function leaves this process but the values that it returns.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pyarrow as pa

from upshot.errors import UpshotError
from upshot_monitoring.row_skew.rows import IDS, one_schema, table_of

_LEAST_POLL_S, _MOST_POLL_S = 0.05, 2.0
_TIMEOUT_S = 600.0
_STREAM = "application/vnd.apache.arrow.stream"

Recompute = Callable[[pa.Table], Any]


class CannotCompare(UpshotError):
    """The server refused or failed, or the function returned no such rows; the message says which."""


def compare_recomputed(
    recompute: Recompute,
    *,
    model: str,
    start: datetime | None = None,
    end: datetime | None = None,
    version: str | None = None,
    url: str = "http://127.0.0.1:8750",
    rows_at_once: int = 10_000,
    on_progress: Callable[[int], None] = lambda _: None,
    **rule: Any,
) -> dict[str, Any]:
    """Compare what ``recompute`` computes now with what was served; returns the comparison as the server keeps it.

    ``recompute`` is called with a ``pyarrow.Table`` of at most ``rows_at_once`` served rows: ``request_id``, ``item_id``,
    ``model_version``, ``predicted_at``, ``entity__<type>`` and ``feature_time__<name>`` (when the served value was computed). It
    returns rows with ``request_id`` (and ``item_id``, ``model_version``) or, without it, one row for each in the same order: a
    list of mappings, or anything with ``to_pylist`` or ``__arrow_c_stream__`` (pyarrow, polars, pandas; a pandas frame has no
    null apart from NaN, and no absent). Every other column is a feature. A row that it does not return, and a name that a
    mapping does not have, counts as missing.
    ``rule``: ``absolute``, ``relative``, ``tolerance``, ``same_numbers``, ``allowed``, ``examples``.

    Raises :class:`CannotCompare`, and whatever ``recompute`` raises.
    """
    base = f"/v1/models/{quote(model, safe='/')}"
    with (
        httpx.Client(base_url=url, timeout=httpx.Timeout(_TIMEOUT_S, connect=5)) as http,
        tempfile.TemporaryDirectory(prefix="upshot-recomputed-") as folder,
    ):
        asked = {"start": start, "end": end, "version": version}
        given = {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asked.items()
            if value is not None
        }
        parts: list[Path] = []
        names: set[str] = set()
        done = 0
        for page in _pages(http, f"{base}/served", {**given, "limit": rows_at_once}):
            table = table_of(_recomputed(recompute, page))
            names |= {one.removeprefix("feature__") for one in table.column_names if one.startswith("feature__")}
            parts.append(Path(folder) / f"{len(parts)}.arrows")
            with pa.ipc.new_stream(parts[-1], table.schema) as out:
                out.write_table(table)
            done += page.num_rows
            on_progress(done)
        if not parts:
            raise CannotCompare("nothing was served in this time")
        if not names:
            raise CannotCompare("the function returned no feature: nothing but request_id, item_id and model_version")
        whole = Path(folder) / "whole.arrows"
        _put_together(parts, sorted(names), whole)
        params = {**({"version": version} if version is not None else {}), **rule}
        with whole.open("rb") as body:
            headers = {"content-type": _STREAM}
            job = _answer(http.post(f"{base}/row-skews", content=body, params=params, headers=headers))
        return _finished(http, job["id"])


def _pages(http: httpx.Client, path: str, params: Mapping[str, Any]) -> Iterator[pa.Table]:
    cursor = ""
    while True:
        try:
            page = _answer(http.get(path, params={**params, "cursor": cursor}))
        except httpx.HTTPError as error:
            raise CannotCompare(f"no server answers at {http.base_url}") from error
        if page["rows"]:
            yield _as_table(page["rows"])
        cursor = page["next"]
        if not cursor:
            return


def _as_table(rows: list[dict[str, Any]]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in IDS}
    columns["predicted_at"] = [datetime.fromisoformat(row["predicted_at"]) for row in rows]
    for field, prefix in (("entities", "entity__"), ("feature_times", "feature_time__")):
        for name in sorted({name for row in rows for name in row[field]}):
            values = [row[field].get(name) for row in rows]
            is_time = field == "feature_times"
            columns[prefix + name] = [
                datetime.fromisoformat(value) if is_time and value is not None else value for value in values
            ]
    return pa.table(columns)


def _recomputed(recompute: Recompute, served: pa.Table) -> list[dict[str, Any]]:
    returned = recompute(served)
    rows = [dict(row) for row in _rows(returned)]
    identities = served.select(list(IDS)).to_pylist()
    if rows and "request_id" not in rows[0]:
        if len(rows) != len(identities):
            raise CannotCompare("the function returned rows without request_id, and not one for each that it was given")
        return [{**row, **identity} for row, identity in zip(rows, identities, strict=True)]
    if any(row.get("request_id") is None for row in rows):
        raise CannotCompare("the function returned a row without request_id")
    there = {(str(row["request_id"]), str(row.get("item_id") or ""), row.get("model_version")) for row in rows}
    for one in identities:
        identity = one["request_id"], one["item_id"]
        if not there & {(*identity, None), (*identity, one["model_version"])}:
            rows.append(one)
    return rows


def _rows(returned: Any) -> Iterable[Mapping[str, Any]]:
    if isinstance(returned, list):
        return returned
    if isinstance(returned, Mapping):
        return pa.table(dict(returned)).to_pylist()  # type: ignore[no-any-return]
    if hasattr(returned, "to_pylist"):
        return returned.to_pylist()  # type: ignore[no-any-return]
    if hasattr(returned, "__arrow_c_stream__"):
        return pa.table(returned).to_pylist()  # type: ignore[no-any-return]
    raise CannotCompare("the function has to return a frame, a table, or a list of mappings")


def _put_together(parts: list[Path], names: list[str], whole: Path) -> None:
    writer: pa.RecordBatchStreamWriter | None = None

    def tables() -> Iterator[pa.Table]:
        for part in parts:
            with pa.OSFile(str(part)) as opened:
                yield pa.ipc.open_stream(opened).read_all()

    try:
        for table in one_schema(tables(), names):
            if writer is None:
                writer = pa.ipc.new_stream(whole, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _finished(http: httpx.Client, id_: str) -> dict[str, Any]:
    pause_s = _LEAST_POLL_S
    while True:
        found = _answer(http.get(f"/v1/row-skews/{id_}"))
        if found["status"] == "failed":
            raise CannotCompare(found["error"])
        if found["status"] == "done":
            return found
        time.sleep(pause_s)
        pause_s = min(_MOST_POLL_S, 1.5 * pause_s)


def _answer(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        try:
            title = response.json()["title"]
        except (ValueError, KeyError, TypeError):
            title = f"the server answered {response.status_code}"
        raise CannotCompare(title)
    found: dict[str, Any] = response.json()
    return found
