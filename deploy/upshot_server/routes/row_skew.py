"""Row-level skew: what was served against what somebody recomputed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from upshot_joiner.clock import to_micros
from upshot_joiner.errors import Problem
from upshot_monitoring.monitor import Monitor
from upshot_monitoring.row_skew.table import FORMS
from upshot_server.routes.answers import json_answer
from upshot_server.routes.moments import Moment, Version, moment
from upshot_server.routes.received import receive

MAX_BYTES = 4 * 1024**3

Tolerances = Annotated[
    list[str] | None,
    Query(
        description="NAME=ABSOLUTE or NAME=ABSOLUTE,RELATIVE: the tolerance of one feature", examples=["amount=0.01"]
    ),
]


def router(monitor: Monitor) -> APIRouter:
    """The routes about row-level skew."""
    routes = APIRouter(tags=["monitoring"])

    @routes.get("/v1/models/{model:path}/served", summary="Which rows were served")
    def get_served(
        model: str,
        start: Moment = None,
        end: Moment = None,
        version: Version = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
        cursor: Annotated[str, Query(description="`next` of the page before", max_length=4096)] = "",
    ) -> Response:
        """Request, item, version, moment, entities and feature times of each, for somebody who recomputes their features."""
        page = monitor.served_rows(
            model, start=moment(start, "start"), end=moment(end, "end"), version=version, limit=limit, after=cursor
        )
        return json_answer(page)

    @routes.get("/v1/models/{model:path}/row-skews", summary="The comparisons of a model")
    def get_row_skews(model: str) -> Response:
        """Newest first, without their features."""
        return json_answer({"row_skews": monitor.row_skews(model)})

    @routes.post(
        "/v1/models/{model:path}/row-skews",
        summary="Compare recomputed values with served ones",
        status_code=202,
        openapi_extra={"requestBody": {"required": True, "content": {form: {} for form in FORMS}}},
    )
    async def post_row_skew(
        model: str,
        request: Request,
        version: Version = None,
        as_of: Moment = None,
        absolute: float = 0.0,
        relative: float = 0.0,
        tolerance: Tolerances = None,
        same_numbers: Annotated[bool, Query(description="3 and 3.0 are equal")] = False,
        allowed: Annotated[float, Query(description="The share of different rows that is accepted")] = 0.0,
        examples: int = 5,
    ) -> Response:
        """The body is a table with ``request_id`` (``item_id``, ``model_version``) and recomputed values. Answered at once."""
        form = FORMS.get(request.headers.get("content-type", "").partition(";")[0].strip().lower())
        if form is None:
            raise Problem(415, "unsupported_media_type", f"A table is sent as one of {', '.join(FORMS)}.")
        as_of = moment(as_of, "as_of")
        asked: dict[str, Any] = {
            "absolute": absolute, "relative": relative, "tolerances": _tolerances(tolerance or []),
            "same_numbers": same_numbers, "allowed": allowed, "examples": examples,
            "version": version, "as_of": None if as_of is None else to_micros(as_of),
        }  # fmt: skip
        await to_thread.run_sync(monitor.check_row_skew, model, asked)
        with tempfile.TemporaryDirectory(prefix="upshot-row-skew-") as folder:
            file = Path(folder) / "table"
            await receive(request, file, MAX_BYTES)
            job = await to_thread.run_sync(monitor.make_row_skew, model, file, form, asked)
        return json_answer(job, 202)

    @routes.get("/v1/row-skews/{row_skew_id}", summary="One comparison")
    def get_row_skew(row_skew_id: str) -> Response:
        """Status, progress and, once done, the result."""
        return json_answer(monitor.row_skew(row_skew_id))

    return routes


def _tolerances(given: list[str]) -> dict[str, list[float]]:
    found = {}
    for one in given:
        name, _, sizes = one.rpartition("=")
        absolute, _, relative = sizes.partition(",")
        try:
            found[name] = [float(absolute), float(relative or 0)]
        except ValueError:
            name = ""
        if not name:
            title = "A tolerance is NAME=ABSOLUTE or NAME=ABSOLUTE,RELATIVE."
            raise Problem(422, "invalid_rule", title, [{"loc": "tolerance", "code": "invalid"}])
    return found
