"""One shape for every error: ``application/problem+json`` with ``type``, ``title``, ``status``, ``code`` and ``errors``.

Never the offending value, SQL, a path or a stack trace.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from upshot_joiner.errors import Place, Problem, StoreError

_log = logging.getLogger("upshot.server")


def problem_response(problem: Problem) -> Response:
    """The answer to a request that cannot be answered as asked."""
    body: dict[str, Any] = {
        "type": f"urn:upshot:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "errors": problem.errors,
        **problem.extra,
    }
    headers = {"Retry-After": str(problem.retry_after_s)} if problem.retry_after_s else None
    return Response(msgspec.json.encode(body), problem.status, headers, "application/problem+json")


def install(app: FastAPI) -> None:
    """Make every error of the application answer in this shape."""

    @app.exception_handler(Problem)
    async def on_problem(_: Request, error: Problem) -> Response:
        return problem_response(error)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, error: RequestValidationError) -> Response:
        places: list[Place] = [
            {"loc": ".".join(str(part) for part in found["loc"]), "code": str(found["type"])}
            for found in error.errors()
        ]
        return problem_response(Problem(422, "invalid_request", "The request has errors.", places))

    @app.exception_handler(HTTPException)
    async def on_http(_: Request, error: HTTPException) -> Response:
        phrase = HTTPStatus(error.status_code).phrase
        response = problem_response(Problem(error.status_code, phrase.lower().replace(" ", "_"), f"{phrase}."))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(StoreError)
    async def on_store(_: Request, error: StoreError) -> Response:
        _log.error("the store failed (code %d)", error.code, exc_info=error)
        return problem_response(
            Problem(503, "store_unavailable", "The store cannot answer now; try again.", retry_after_s=2)
        )

    @app.exception_handler(Exception)
    async def on_bug(_: Request, error: Exception) -> Response:
        _log.error("a request failed", exc_info=error)
        return problem_response(Problem(500, "internal_error", "Something went wrong here; it is in the server's log."))
