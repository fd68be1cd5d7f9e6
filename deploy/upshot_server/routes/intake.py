"""``POST /v1/predictions`` and the label webhook ``POST /v1/labels``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from upshot.wire import ARROW_CONTENT_TYPE, NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE, LabelEvent, Prediction
from upshot_joiner.errors import Problem
from upshot_joiner.intake.batch import Answer
from upshot_joiner.intake.body import read_body
from upshot_joiner.intake.decode import form_of
from upshot_joiner.intake.receive import Received, Receiver
from upshot_server.parts import Parts
from upshot_server.problems import problem_response
from upshot_server.routes.answers import json_answer

_INLINE_BYTES = 16 * 1024
"""Smaller bodies are decoded at once: a hop to a thread costs more than they do. But a small Arrow stream may hold much."""


def router(parts: Parts) -> APIRouter:
    """The routes that take events."""
    routes = APIRouter(tags=["events"])

    @routes.post("/v1/predictions", openapi_extra=body_of(Prediction), summary="Log predictions")
    async def post_predictions(request: Request) -> Response:
        """One event, a list, one per line, or an Arrow stream; gzip or zstd. Answered when stored."""
        receiver = parts.receiver
        return await take(receiver, request, receiver.decode_predictions, receiver.submit_predictions)

    @routes.post("/v1/labels", openapi_extra=body_of(LabelEvent), summary="Send labels (webhook)")
    async def post_labels(request: Request) -> Response:
        """One event, a list, or one per line; gzip or zstd. Answered when stored; joined within two seconds.

        Signed by Standard Webhooks, or with a key, where the server is so configured.
        """
        receiver = parts.receiver
        headers = headers_of(request)
        if not parts.label_access.admit(headers):
            return await take(receiver, request, receiver.decode_labels, receiver.submit_labels)
        body = await _body(request)
        check = partial(parts.label_access.verify, headers, body)
        delivery = check() if len(body) <= _INLINE_BYTES else await run_in_threadpool(check)
        answer, repeated = await parts.remembered.once(delivery, body, lambda: _stored_labels(receiver, request, body))
        return _answer(answer, None, {"duplicate": True} if repeated else {})

    return routes


async def take(
    receiver: Receiver,
    request: Request,
    decode: Callable[[bytes, str, str], Received[Any]],
    submit: Callable[[Received[Any]], Future[Answer]],
) -> Response:
    """Read, decode and store the body of a request, and say what became of it."""
    return _answer(*await _stored(receiver, request, await _body(request), decode, submit))


def headers_of(request: Request) -> dict[str, list[str]]:
    """Every header of a request with all of its values, by its name in lower case."""
    headers: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        headers.setdefault(name, []).append(value)
    return headers


async def _body(request: Request) -> bytes:
    return await read_body(request.stream(), request.headers.get("content-length"))


async def _stored(
    receiver: Receiver,
    request: Request,
    body: bytes,
    decode: Callable[[bytes, str, str], Received[Any]],
    submit: Callable[[Received[Any]], Future[Answer]],
) -> tuple[Answer, int | None]:
    form = request.headers.get("content-type", "")
    encoding = request.headers.get("content-encoding", "")
    with receiver.coming():
        if len(body) <= _INLINE_BYTES and not encoding and form_of(form) != ARROW_CONTENT_TYPE:
            received = decode(body, form, encoding)
        else:
            received = await run_in_threadpool(decode, body, form, encoding)
        if received.empty:
            return Answer(), received.converted
        stored = submit(received)
    return await asyncio.wrap_future(stored), received.converted


async def _stored_labels(receiver: Receiver, request: Request, body: bytes) -> Answer:
    answer, _ = await _stored(receiver, request, body, receiver.decode_labels, receiver.submit_labels)
    return answer


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


def _answer(answer: Answer, converted: int | None, more: dict[str, object] | None = None) -> Response:
    counts: dict[str, object] = {
        "accepted": answer.accepted,
        "duplicates": answer.duplicates,
        "rejected": answer.rejected,
        **(more or {}),
    }
    if converted is not None:
        counts["converted"] = converted
    if answer.rejected and not answer.accepted and not answer.duplicates:
        return problem_response(
            Problem(422, "all_rejected", "No event of the request could be accepted.", answer.errors, extra={**counts})
        )
    return json_answer({**counts, "errors": answer.errors})
