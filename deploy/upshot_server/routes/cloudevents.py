"""``POST /v1/cloudevents``: what KServe's inference logger sends; ``GET``: what of it waits for its other half."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from upshot_joiner.errors import Problem
from upshot_joiner.intake.body import decompress, read_body, whole
from upshot_joiner.intake.kserve.cloudevent import BATCH, STRUCTURED, Decoded, decode
from upshot_joiner.intake.kserve.pairing import Pairing
from upshot_server.problems import problem_response
from upshot_server.routes.answers import json_answer

_EVENT = {"schema": {"type": "object", "required": ["specversion", "id", "source", "type"]}}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}},
            STRUCTURED: _EVENT,
            BATCH: {"schema": {"type": "array", "items": _EVENT["schema"]}},
        },
    }
}


def router(pairing: Pairing) -> APIRouter:
    """The routes of CloudEvents."""
    routes = APIRouter(tags=["events"])

    @routes.post("/v1/cloudevents", openapi_extra=_BODY, summary="Requests and responses of KServe's inference logger")
    async def post_cloudevents(request: Request) -> Response:
        """One event in binary or structured mode, or a batch; gzip or zstd. Answered when stored, with its other half or not."""
        body = await read_body(request.stream(), request.headers.get("content-length"))
        headers = {name.lower(): value for name, value in request.headers.items()}
        decoded = await run_in_threadpool(_decode, body, headers)
        answer = await asyncio.wrap_future(pairing.submit(decoded))
        counts = {"accepted": answer.accepted, "duplicates": answer.duplicates, "rejected": answer.rejected}
        if answer.rejected and not answer.accepted and not answer.duplicates:
            return problem_response(
                Problem(422, "all_rejected", "No event could be accepted.", answer.errors, extra={**counts})
            )
        # A broker takes what stands in the answer to an event for an event, and what is none for a failed delivery.
        return json_answer({**counts, "errors": answer.errors}) if decoded.is_batch else Response(status_code=200)

    @routes.get("/v1/cloudevents", summary="Halves of inferences that wait for the other")
    async def get_cloudevents() -> Response:
        """How many wait and since when, the oldest hundred of them, and what became of those that were settled of late."""
        return json_answer(await run_in_threadpool(pairing.state))

    return routes


def _decode(body: bytes, headers: dict[str, str]) -> Decoded:
    return decode(whole(decompress(body, headers.get("content-encoding", ""))), headers)
