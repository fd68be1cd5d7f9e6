"""What came in and is in no outcome: labels that wait for their prediction, and what was refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Response

from upshot_server.parts import Parts
from upshot_server.routes.answers import json_answer
from upshot_server.routes.moments import Moment, duration, moment

Limit = Annotated[int, Query(ge=1, le=1000)]
Cursor = Annotated[str, Query(description="`next` of the page before", max_length=4096)]
Age = Annotated[str, Query(description="A duration: 1h, 1d, 7d", examples=["1d"])]
Model = Annotated[str | None, Query(description="Of one model")]


def router(parts: Parts) -> APIRouter:
    """The routes about orphans and the quarantine."""
    routes = APIRouter(tags=["events"])

    @routes.get("/v1/orphans", summary="Labels without a prediction")
    def get_orphans(
        model: Model = None, name: str | None = None, older_than: Age = "0s", limit: Limit = 100, cursor: Cursor = ""
    ) -> Response:
        """The one that waits longest first, with counts by age; one that names no model is listed with every model."""
        age = duration(older_than, "older_than", least=timedelta()) or timedelta()
        return json_answer(parts.orphans.page(model=model, name=name, older_than=age, limit=limit, after=cursor))

    @routes.get("/v1/quarantine", summary="Refused events")
    def get_quarantine(
        code: str | None = None,
        kind: Annotated[str | None, Query(description="prediction, label, writer")] = None,
        model: Model = None,
        start: Moment = None,
        end: Moment = None,
        limit: Limit = 100,
        cursor: Cursor = "",
    ) -> Response:
        """The newest first, with counts by code. ``payload_text`` is what somebody sent: text, and nothing else."""
        return json_answer(
            parts.quarantine.page(
                code=code,
                kind=kind,
                model=model,
                start=moment(start, "start"),
                end=moment(end, "end"),
                limit=limit,
                after=cursor,
            )
        )

    return routes
