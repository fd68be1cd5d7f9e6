"""``POST /v1/predictions`` and the label webhook ``POST /v1/labels``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from upshot.wire import ARROW_CONTENT_TYPE, NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE, LabelEvent, Prediction
from upshot_joiner.errors import Problem
from upshot_joiner.intake.body import read_body
from upshot_joiner.intake.committer import Answer
from upshot_joiner.intake.decode import form_of
from upshot_joiner.intake.receive import Received, Receiver
from upshot_server.problems import problem_response
from upshot_server.routes.answers import json_answer

_INLINE_BYTES = 16 * 1024
"""Smaller bodies are decoded at once: a hop to a thread costs more than they do. But a small Arrow stream may hold much."""


def router(receiver: Receiver) -> APIRouter:
    """The routes that take events."""
    routes = APIRouter(tags=["events"])

    @routes.post("/v1/predictions", openapi_extra=body_of(Prediction), summary="Log predictions")
    async def post_predictions(request: Request) -> Response:
        """One event, a list, one per line, or an Arrow stream; gzip or zstd. Answered when stored."""
        return await take(request, receiver.decode_predictions, receiver.submit_predictions)

    @routes.post("/v1/labels", openapi_extra=body_of(LabelEvent), summary="Send labels (webhook)")
    async def post_labels(request: Request) -> Response:
        """One event, a list, or one per line; gzip or zstd. Answered when stored; joined within two seconds."""
        return await take(request, receiver.decode_labels, receiver.submit_labels)

    return routes


async def take(
    request: Request,
    decode: Callable[[bytes, str, str], Received[Any]],
    submit: Callable[[Received[Any]], Future[Answer]],
) -> Response:
    """Read, decode and store the body of a request, and say what became of it."""
    body = await read_body(request.stream(), request.headers.get("content-length"))
    form = request.headers.get("content-type", "")
    encoding = request.headers.get("content-encoding", "")
    if len(body) <= _INLINE_BYTES and not encoding and form_of(form) != ARROW_CONTENT_TYPE:
        received = decode(body, form, encoding)
    else:
        received = await run_in_threadpool(decode, body, form, encoding)
    if received.empty:
        return _answer(Answer(), received.converted)
    return _answer(await asyncio.wrap_future(submit(received)), received.converted)


def body_of(event: type[msgspec.Struct]) -> dict[str, Any]:
    """What the OpenAPI document says of a body of such events."""
    (schema,), components = msgspec.json.schema_components([event], ref_template="#/$defs/{name}")
    one = components[event.__name__] if "$ref" in schema else schema
    binary = {PACKED_CONTENT_TYPE, ARROW_CONTENT_TYPE} if event is Prediction else {PACKED_CONTENT_TYPE}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"anyOf": [one, {"type": "array", "items": one}]}},
                NDJSON_CONTENT_TYPE: {"schema": {"type": "string"}},
                **{form: {"schema": {"type": "string", "format": "binary"}} for form in sorted(binary)},
            },
        }
    }


def _answer(answer: Answer, converted: int | None) -> Response:
    counts = {"accepted": answer.accepted, "duplicates": answer.duplicates, "rejected": answer.rejected}
    if converted is not None:
        counts["converted"] = converted
    if answer.rejected and not answer.accepted and not answer.duplicates:
        return problem_response(
            Problem(422, "all_rejected", "No event of the request could be accepted.", answer.errors, extra={**counts})
        )
    return json_answer({**counts, "errors": answer.errors})
