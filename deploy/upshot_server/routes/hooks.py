"""``POST /v1/hooks/{source}`` and what belongs to it: other systems' own webhooks become label events."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Body, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from upshot_joiner.errors import Problem
from upshot_joiner.intake.body import read_body
from upshot_joiner.intake.webhooks.hooks import MAX_HOOK_BYTES
from upshot_server.parts import Parts
from upshot_server.routes.answers import json_answer
from upshot_server.routes.intake import headers_of

MAX_LISTED = 1000
_JSON = {"requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}}


def router(parts: Parts) -> APIRouter:
    """The routes of webhooks."""
    routes = APIRouter(tags=["hooks"])

    @routes.get("/v1/hooks", summary="All sources")
    def get_sources() -> Response:
        """The names of the configured sources."""
        return json_answer({"sources": parts.hooks.names()})

    @routes.get("/v1/hooks/{source}", summary="One source")
    def get_source(
        source: str, limit: Annotated[int, Query(ge=0, le=MAX_LISTED)] = 100, bodies: bool = False
    ) -> Response:
        """Its configuration (never a secret), what became of what it sent, and what waits for a mapping."""
        return json_answer(parts.hooks.state(source, limit, bodies))

    @routes.put("/v1/hooks/{source}", summary="Configure a source")
    def put_source(source: str, config: Annotated[Any, Body()]) -> Response:
        """Replace its configuration; without `secrets` in the signature, those in force stay."""
        return json_answer(parts.hooks.configure(source, config))

    @routes.post("/v1/hooks/{source}", openapi_extra=_JSON, summary="Take a delivery")
    async def post_delivery(source: str, request: Request) -> Response:
        """Whatever the source sends. 200 when it is stored; 202 when some of it is kept for a better mapping."""
        hooks = parts.hooks
        found = await run_in_threadpool(hooks.open_to, source)
        try:
            body = await read_body(request.stream(), request.headers.get("content-length"), MAX_HOOK_BYTES)
            mapped, kept = await run_in_threadpool(hooks.map, found, headers_of(request), body)
        except Problem as problem:
            if problem.status < 500:
                hooks.refused(found)
            raise
        taken = await hooks.store(found, mapped, kept)
        errors = [*taken.answer.errors, *kept.places]
        return json_answer(
            {
                "accepted": taken.answer.accepted,
                "duplicates": taken.answer.duplicates,
                "rejected": taken.answer.rejected,
                "filtered": taken.filtered,
                "unmapped": len(taken.unmapped),
                "errors": errors,
            },
            202 if taken.unmapped else 200,
        )

    @routes.post("/v1/hooks/{source}/preview", openapi_extra=_JSON, summary="Try a mapping")
    async def post_preview(source: str, request: Request) -> Response:
        """`{"body": ..., "headers": {...}, "mapping": {...}}`: the label events that it would become. Stores nothing."""
        body = await read_body(request.stream(), request.headers.get("content-length"), 2 * MAX_HOOK_BYTES)
        return json_answer(await run_in_threadpool(lambda: parts.hooks.preview(source, _json(body))))

    @routes.post("/v1/hooks/{source}/replay", summary="Map again what could not be mapped")
    def post_replay(source: str) -> Response:
        """Everything that waits, by the mapping in force now."""
        return json_answer(parts.hooks.replay(source))

    return routes


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Problem(
            400, "invalid_json", "The body is not JSON in UTF-8.", [{"loc": "body", "code": "invalid_json"}]
        ) from None
