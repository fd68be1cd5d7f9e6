"""The books of the writers: what they say of themselves, and which of their numbers have arrived."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from upshot.wire import WriterReport
from upshot_joiner.writers.books import State
from upshot_server.parts import Parts
from upshot_server.routes.answers import json_answer
from upshot_server.routes.intake import body_of, take

MAX_LISTED = 1000


def router(parts: Parts) -> APIRouter:
    """The routes about writers."""
    routes = APIRouter(tags=["writers"])

    @routes.post("/v1/writers", openapi_extra=body_of(WriterReport), summary="Report a writer's books")
    async def post_reports(request: Request) -> Response:
        """One report, a list, or one per line; gzip or zstd. Answered when stored; the latest of a writer counts."""
        return await take(parts.receiver, request, parts.receiver.decode_reports, parts.receiver.submit_reports)

    @routes.get("/v1/writers", summary="All writers")
    def get_writers(
        state: State | None = None, model: str = "", limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 100
    ) -> Response:
        """The one heard of last first; and the totals of all of them, whatever their state."""
        return json_answer(parts.writers.all(state, model, limit))

    @routes.get("/v1/writers/{writer_id:path}", summary="One writer")
    def get_writer(writer_id: str) -> Response:
        """Its books with every gap, the counters it reported, and its rejected events by code."""
        return json_answer(parts.writers.one(writer_id))

    return routes
