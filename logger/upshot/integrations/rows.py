"""Tables of rows and what a model answered for each: from what libraries pass around to one prediction event per row.

Tables are recognised by what they can do, so none of the libraries they come from is imported: pandas and polars frames and series,
pyarrow tables, NumPy arrays, SciPy sparse matrices, lists of lists, lists of dicts, dicts of columns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import upshot
from upshot.capture.request_id import current_request
from upshot.complaints import Complaints
from upshot.logger import Logger

__all__ = ["Answer", "answers_of", "collect_request_ids", "complain", "features_of", "log_rows", "log_table"]

FRAME_FROM_ROWS = 1_000
"""From here on a table goes by ``log_frame``, row for row a tenth of the cost; fewer rows are not worth its start."""

_complaints = Complaints()
_collected: ContextVar[list[str] | None] = ContextVar("upshot_collected_request_ids", default=None)


@contextlib.contextmanager
def collect_request_ids() -> Iterator[list[str]]:
    """Collect the request IDs of the rows that are logged in this block, in this thread or task and those it starts.

    ::

        with collect_request_ids() as request_ids:
            scores = model.predict_proba(X)
        # request_ids[i] is what labels of row i refer to
    """
    ids: list[str] = []
    token = _collected.set(ids)
    try:
        yield ids
    finally:
        _collected.reset(token)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered for all rows, or one of its several outputs. ``item_id`` is empty where there is one output."""

    item_id: str
    predictions: Sequence[Any]
    """One for each row: a scalar, or class -> probability."""


def log_rows(
    logger: Logger | None,
    read: Callable[[], Sequence[Mapping[str, Any]]],
    answer: Callable[[int], Sequence[Answer]],
    *,
    request_ids: Sequence[str] | None = None,
    n_rows: int,
    **details: Any,
) -> list[str]:
    """Log rows with their answers; returns their request IDs. Raises nothing: what cannot be read is ``dropped_failed``.

    ``read`` gives the keyword arguments of `upshot.log_prediction` for each row, ``answer`` the answers of that many rows.
    ``request_ids``: one for each row; without them a row has the ID of the web request, or a new one. ``n_rows``: how many rows
    count as failed when none can be read. ``details``: keyword arguments for all rows.
    """
    log = upshot.log_prediction if logger is None else logger.log_prediction
    ids: list[str] = []
    try:
        rows = read()
        answers = answer(len(rows))
        for one in answers:
            _must_be(len(one.predictions), len(rows), "answers")
        if request_ids is not None:
            _must_be(len(request_ids), len(rows), "request_ids")
        given: Iterator[str | None] = repeat(None) if request_ids is None else iter(request_ids)
        for n, (row, id_) in enumerate(zip(rows, given, strict=False)):
            for one in answers:
                arguments = {"item_id": one.item_id, **details, **row}
                id_ = log(prediction=one.predictions[n], request_id=id_, **arguments)
            ids.append(id_ or "")
    except Exception as error:  # noqa: BLE001  # objects of other libraries may raise anything
        why = str(error) if type(error) is _MismatchError else type(error).__name__  # a foreign message may hold values
        complain(why, f"rows could not be logged: {why}")
        # No mapping: this counts an event as failed.
        ids += [log(None, None, **details) for _ in range(n_rows - len(ids))]  # type: ignore[arg-type]
    collected = _collected.get()
    if collected is not None:
        collected += ids
    return ids


def log_table(
    logger: Logger | None,
    data: Any,
    answer: Callable[[int], Sequence[Answer]],
    *,
    names: Sequence[str] | None = None,
    fallback_names: Sequence[str] | None = None,
    request_ids: Sequence[str] | None = None,
    n_rows: int,
    **details: Any,
) -> None:
    """`log_rows` of a table, whose names are as in `features_of`. Many rows go by ``log_frame``, where that can be."""
    if n_rows >= FRAME_FROM_ROWS and current_request.get() is None:
        try:
            arguments = _as_frame(data, answer(n_rows), n_rows, names, fallback_names, request_ids)
        except Exception:  # noqa: BLE001  # no pyarrow, or a table that Arrow does not know
            arguments = None
        if arguments is not None:
            log = upshot.log_frame if logger is None else logger.log_frame
            ids = log(**arguments, **details, timeout=0.0)  # a model's answer waits for nobody
            collected = _collected.get()
            if collected is not None:
                collected += _listed(ids)
            return
    log_rows(
        logger,
        lambda: features_of(data, names, fallback_names),
        answer,
        request_ids=request_ids,
        n_rows=n_rows,
        **details,
    )


def _as_frame(
    data: Any,
    answers: Sequence[Answer],
    n_rows: int,
    names: Sequence[str] | None,
    fallback_names: Sequence[str] | None,
    request_ids: Sequence[str] | None,
) -> dict[str, Any] | None:
    """Arguments of ``log_frame``; None for what it does not take: several outputs, other tables than frames and matrices."""
    from upshot.capture.frames.matrix import frame_of  # loads pyarrow, without which there is no frame

    columns: dict[str, Any]
    if hasattr(data, "iloc") and data.ndim == 2:  # pandas
        own = list(data.columns)
    elif getattr(data, "ndim", 0) == 2 and hasattr(data, "tolist"):
        own = None
    else:
        return None
    if len(answers) != 1 or len(data) != n_rows or (request_ids is not None and len(request_ids) != n_rows):
        return None
    if own is not None and any(_is_mixed(data.iloc[:, n]) for n in range(data.shape[1])):
        return None
    features = _chosen_names(data.shape[1], names, own, fallback_names)
    predictions = answers[0].predictions
    if isinstance(predictions[0], Mapping):
        classes = {one: f"probability of {one}" for one in predictions[0]}
        columns = {column: [row[one] for row in predictions] for one, column in classes.items()}
    else:
        classes = None
        columns = {"prediction": predictions}
    if request_ids is not None:
        columns["request_id"] = request_ids
    if len({*features, *columns, "prediction"}) != len(features) + len(columns) + ("prediction" not in columns):
        return None  # a feature has the name of one of them
    if own is not None:
        frame = data.copy(deep=False).set_axis(features, axis=1).assign(**columns)
    else:
        frame = frame_of({**{name: data[:, n] for n, name in enumerate(features)}, **columns})
    return {
        "frame": frame,
        "features": features,
        "probabilities": classes,
        "request_id": None if request_ids is None else "request_id",
    }


def _is_mixed(series: Any) -> bool:
    """Whether it holds objects that one column of Arrow cannot hold as they are."""
    return series.dtype == object and len({type(value) for value in series} - {type(None)}) > 1


def complain(kind: str, text: str) -> None:
    """Say it on the logger ``upshot``, each kind at most once in five minutes."""
    _complaints.note(kind, text)
    _complaints.say()


class _MismatchError(ValueError):
    """Rows and what should be one for each row are not equally many."""


def _must_be(n: int, n_rows: int, what: str) -> None:
    if n != n_rows:
        raise _MismatchError(f"{n} {what} for {n_rows} rows")


# ---- rows ------------------------------------------------------------------------------------------------------------


def features_of(
    data: Any, names: Sequence[str] | None = None, fallback_names: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The features of each row of a table, as keyword arguments of `upshot.log_prediction`.

    Names are ``names``, else those of the table itself, else ``fallback_names``; where their number is not that of the columns, the
    next count. Without any: ``x0``, ``x1``, …. An array of more than two dimensions has the one feature ``x0``: the numbers of
    the row, flat. The zeros of a sparse matrix are zeros. Raises what the objects raise.
    """
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)) and data and isinstance(data[0], Mapping):
        return [{"features": row} for row in data]
    own, columns, rows = _taken_apart(data)
    n_columns = len(columns) if columns is not None else len(rows[0]) if rows else 0
    chosen = _chosen_names(n_columns, names, own, fallback_names)
    each = zip(*columns, strict=True) if columns is not None else rows
    return [{"features": dict(zip(chosen, row, strict=True))} for row in each]


def _chosen_names(n_columns: int, *candidates: Sequence[Any] | None) -> list[str]:
    numbered = [f"x{n}" for n in range(n_columns)]
    fitting = (given for given in candidates if given is not None and len(given) == n_columns)
    return _different([str(name) for name in next(fitting, numbered)])


def _taken_apart(data: Any) -> tuple[list[str] | None, list[Sequence[Any]] | None, list[Sequence[Any]]]:
    """A table's own names; its columns, or None; and where there are none, its rows."""
    if hasattr(data, "iloc"):  # pandas
        if data.ndim == 1:
            return None if data.name is None else [data.name], [_values(data)], []
        return list(data.columns), [_values(data.iloc[:, n]) for n in range(data.shape[1])], []
    if hasattr(data, "get_columns"):  # polars
        return list(data.columns), [column.to_list() for column in data.get_columns()], []
    if hasattr(data, "column_names"):  # pyarrow
        return list(data.column_names), [column.to_pylist() for column in data.columns], []
    if hasattr(data, "tocsr"):  # SciPy; a few rows at a time, since one may be wide
        sparse = data.tocsr()
        return None, None, [sparse[n : n + 1].toarray()[0].tolist() for n in range(sparse.shape[0])]
    if isinstance(data, Mapping):
        if any(_is_column(column) for column in data.values()):
            return [*data], [_listed(column) for column in data.values()], []
        return [*data], None, [list(data.values())]
    if getattr(getattr(data, "dtype", None), "names", None):  # a NumPy array of records
        return list(data.dtype.names), None, data.tolist()
    if getattr(data, "ndim", 0) > 2:
        return None, None, [[row] for row in data.reshape(len(data), -1).tolist()]
    rows = _listed(data)
    if rows and not _is_column(rows[0]):
        name = getattr(data, "name", None)  # of a polars series
        return None if not name else [name], None, [[value] for value in rows]
    return None, None, [_listed(row) for row in rows]


def _values(series: Any) -> list[Any]:
    """The values of a pandas series. Its texts and categories write a missing one as NaN, which is a null there."""
    values: list[Any] = series.tolist()
    if type(series.dtype).__module__.startswith("pandas") and series.dtype.kind == "O":
        return [None if isinstance(value, float) and value != value else value for value in values]
    return values


def _is_column(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (getattr(value, "ndim", 0) > 0 and hasattr(value, "__len__"))


def _listed(values: Any) -> list[Any]:
    for method in ("tolist", "to_list", "to_pylist"):
        if hasattr(values, method):
            plain = getattr(values, method)()
            return plain if isinstance(plain, list) else [plain]
    return list(values)


def _different(names: list[str]) -> list[str]:
    """Names without repetition: the second ``a`` is ``a~2``."""
    if len(set(names)) == len(names):
        return names
    seen: dict[str, int] = {}
    different = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        different.append(name if seen[name] == 1 else f"{name}~{seen[name]}")
    return different


# ---- answers ---------------------------------------------------------------------------------------------------------


def answers_of(result: Any, n_rows: int, classes: Sequence[Any] | None = None) -> list[Answer]:
    """What a model's ``predict`` returned, as answers for ``n_rows`` rows. Raises what the objects raise.

    One column is one answer. Several columns are the probabilities of ``classes`` when those are given; else each is an output
    of its own, with its name or number as the item ID. Of a tuple the first counts.
    """
    if isinstance(result, tuple):
        return answers_of(result[0], n_rows, classes)
    if isinstance(result, (str, bytes, int, float)) or result is None:
        return [Answer("", [result])]
    if isinstance(result, Sequence) and result and isinstance(result[0], Mapping):
        return [Answer("", result)]
    own, columns, rows = _taken_apart(result)
    if columns is None:
        if (
            n_rows == 1 and len(rows) > 1 and all(len(row) == 1 for row in rows)
        ):  # one row's outputs, in no list of rows
            rows = [[row[0] for row in rows]]
        columns = [list(column) for column in zip(*rows, strict=True)]
    if classes is not None and len(classes) == len(columns):
        return [Answer("", [dict(zip(classes, row, strict=True)) for row in zip(*columns, strict=True)])]
    if len(columns) == 1:
        return [Answer("", columns[0])]
    names = [str(n) for n in range(len(columns))] if own is None else _different([str(name) for name in own])
    return [Answer(name, column) for name, column in zip(names, columns, strict=True)]
