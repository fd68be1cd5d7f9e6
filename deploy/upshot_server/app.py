"""The server: one process, one composed application."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from upshot import __version__
from upshot_joiner.clock import Clock, SystemClock
from upshot_server import problems
from upshot_server.interpreter import tune_interpreter
from upshot_server.origin import SameOriginMiddleware
from upshot_server.parts import Parts
from upshot_server.routes import (
    alerts,
    cloudevents,
    dashboard,
    drift,
    exports,
    feeds,
    health,
    hooks,
    intake,
    models,
    monitoring,
    multivariate,
    pulls,
    replay,
    row_skew,
    verify,
    waiting,
    writers,
)
from upshot_server.settings import Settings

LOOPBACK_NAMES = ["127.0.0.1", "localhost", "[::1]"]
"""Names a request may be addressed to. Another one means that a web page made the browser call us under a name of its own."""


def create_app(parts: Parts) -> FastAPI:
    """The application over parts that are open; closing it closes them."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        parts.close()

    app = FastAPI(title="Upshot", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    problems.install(app)
    app.add_middleware(SameOriginMiddleware)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK_NAMES)
    app.include_router(intake.router(parts))
    app.include_router(hooks.router(parts))
    app.include_router(writers.router(parts))
    app.include_router(replay.router(parts))
    app.include_router(pulls.router(parts.pulls))
    app.include_router(cloudevents.router(parts.pairing))
    app.include_router(drift.router(parts.monitor))
    app.include_router(monitoring.router(parts.monitor))
    app.include_router(row_skew.router(parts.monitor))
    app.include_router(multivariate.router(parts.monitor))
    app.include_router(exports.router(parts.exporter))
    app.include_router(waiting.router(parts))
    app.include_router(feeds.router(parts))
    app.include_router(alerts.router(parts))
    app.include_router(models.router(parts))
    app.include_router(health.router(parts))
    app.include_router(verify.router(parts))
    app.include_router(dashboard.router)
    return app


def run(settings: Settings, clock: Clock | None = None) -> None:
    """Serve until told to stop (SIGINT, SIGTERM). Raises when the address or the data folder cannot be had."""
    settings.check_address()
    listener = _listen(settings)
    try:
        parts = Parts.open(settings, clock or SystemClock())
    except BaseException:
        listener.close()
        raise
    config = uvicorn.Config(
        create_app(parts), log_level="warning", access_log=False, timeout_keep_alive=75, timeout_graceful_shutdown=10
    )
    tune_interpreter()
    logging.getLogger("upshot").info("serving %s on port %d", settings.data_dir, listener.getsockname()[1])
    _Server(config).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends quietly on SIGINT and SIGTERM: everything is closed by then, so the signal need not end the process again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop serving at the first signal, at once at the second."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listen(settings: Settings) -> socket.socket:
    """Take the port before the store is opened: a port that is in use is said at once."""
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.host, settings.port))
    listener.listen(1024)
    return listener
