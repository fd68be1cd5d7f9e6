"""FastAPI, Starlette and every other ASGI framework: predictions bear the ID of the web request they were made for.

`UpshotMiddleware` finds or makes the ID and gives it back in the response; `prediction_log` and `request_id` are dependencies for
``Depends``. None of them imports the framework.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import upshot
from upshot.capture.request_id import RequestIds, current_request, new_request_id
from upshot.logger import Logger

__all__ = ["PredictionLog", "UpshotMiddleware", "prediction_log", "request_id"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_MAX_LENGTH = 200
"""Of an ID that comes from outside. The server takes 512."""


class UpshotMiddleware:
    """Gives each HTTP request an ID, which the predictions made for it bear.

    ``header``: where the ID is read and given back. An incoming ID counts when it is 1 to 200 printable ASCII characters
    without a space; else the request gets a new UUIDv7. With ``trust_incoming=False`` it always does: whoever can choose the
    ID can choose one that exists. A response in which the application has set the header itself is left as it is.

    Everything else passes untouched: bodies, streams, exceptions, WebSockets, lifespan. A WebSocket has no ID, because one
    connection carries any number of predictions.
    """

    def __init__(self, app: App, header: str = "x-request-id", *, trust_incoming: bool = True) -> None:
        self.app = app
        self._header = header.lower().encode("ascii")
        self._trust_incoming = trust_incoming

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, as ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        ids = RequestIds(self._incoming(scope) or new_request_id())
        header = (self._header, ids.request_id.encode("ascii"))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers") or ())
                if all(name.lower() != self._header for name, _ in headers):
                    message = {**message, "headers": [*headers, header]}
            await send(message)

        token = current_request.set(ids)
        try:
            await self.app(scope, receive, send_with_id)
        finally:
            current_request.reset(token)

    def _incoming(self, scope: Scope) -> str:
        if self._trust_incoming:
            for name, value in scope["headers"]:
                if name.lower() == self._header:
                    usable = 0 < len(value) <= _MAX_LENGTH and all(0x21 <= byte <= 0x7E for byte in value)
                    return value.decode("ascii") if usable else ""
        return ""


class PredictionLog:
    """Logs the predictions of one web request; made by `prediction_log`."""

    __slots__ = ("_defaults", "_ids", "_logger")

    def __init__(self, ids: RequestIds, logger: Logger | None, defaults: Mapping[str, Any]) -> None:
        self._ids = ids
        self._logger = logger
        self._defaults = defaults

    @property
    def request_id(self) -> str:
        """The ID of the web request."""
        return self._ids.request_id

    def prediction(self, features: Mapping[str, object], prediction: Any, **details: Any) -> str:
        """`upshot.log_prediction` with this request's ID; ``details`` are its keyword arguments.

        Returns the ID to which labels refer: that of the web request, or ``ID~2``, ``ID~3`` for a further prediction of the same
        model and item (give the rows of a ranked list an ``item_id`` each to keep them under one ID). Raises nothing.
        """
        log = upshot.log_prediction if self._logger is None else self._logger.log_prediction
        token = current_request.set(
            self._ids
        )  # an executor's thread has it not, nor has anybody without the middleware
        try:
            return log(features, prediction, **{**self._defaults, **details})
        finally:
            current_request.reset(token)


def prediction_log(logger: Logger | None = None, **defaults: Any) -> Callable[[], Awaitable[PredictionLog]]:
    """A dependency for ``Depends``: the `PredictionLog` of the web request.

    ``logger``: instead of the default one. ``defaults``: keyword arguments of every `upshot.log_prediction`, as ``model="fraud"``.
    Where no middleware is installed, each request gets a new UUIDv7 here.
    """

    async def log_of_this_request() -> PredictionLog:  # async, or FastAPI would send it to a thread
        return PredictionLog(current_request.get() or RequestIds(new_request_id()), logger, defaults)

    return log_of_this_request


async def request_id() -> str:
    """A dependency for ``Depends``: the ID of the web request; without `UpshotMiddleware` a new UUIDv7, for the caller alone."""
    ids = current_request.get()
    return new_request_id() if ids is None else ids.request_id
