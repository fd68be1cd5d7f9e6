"""Keeps web pages of other sites from changing anything through a visitor's browser."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from upshot_joiner.errors import Problem
from upshot_server.problems import problem_response

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class SameOriginMiddleware:
    """Refuses a request that changes something and comes from a page of another origin.

    Browsers send ``Origin`` with every such request; programs send none.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] == "http" and scope["method"] not in _SAFE:
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != headers.get("host"):
                refusal = problem_response(Problem(403, "cross_origin", "Requests from other sites are refused."))
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
