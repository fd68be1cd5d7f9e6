"""A real Chromium, and a server with our real pages whose API answers what a test tells it to."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from playwright.sync_api import Request as BrowserRequest

from tests.browser.canned import Answers
from tests.waiting import eventually
from upshot_server.routes.dashboard import router

CHROMIUM_ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

WATCH = """
addEventListener('securitypolicyviolation', (event) =>
  console.error(`refused by the policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


@dataclass
class Canned:
    """Our pages with an API that answers from `answers` (by path, or by path and version) and 404 otherwise."""

    url: str
    answers: Answers = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, request: Request) -> Response:
        """Answer as told. Paths are compared as what they mean: browsers escape fewer letters than Python does."""
        path = unquote(request.scope["raw_path"].decode())
        self.asked.append(path)
        version = request.query_params.get("version")
        wanted = path if version is None else f"{path}?version={version}"
        for key, (status, answer) in self.answers.items():
            if unquote(key) == wanted:
                body = answer if isinstance(answer, str) else json.dumps(answer)
                return Response(body, status, media_type="application/json")
        return Response('{"title": "Not found", "status": 404}', 404, media_type="application/problem+json")


@pytest.fixture(scope="session")
def canned_server() -> Iterator[Canned]:
    listener = socket.create_server(("127.0.0.1", 0))
    canned = Canned(f"http://127.0.0.1:{listener.getsockname()[1]}")
    app = FastAPI(openapi_url=None)
    app.include_router(router)
    app.add_api_route("/v1/{path:path}", canned.answer)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    eventually(lambda: server.started)
    yield canned
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def canned(canned_server: Canned) -> Canned:
    """The canned server with nothing to tell: every API address is 404 until the test says otherwise."""
    canned_server.answers.clear()
    canned_server.asked.clear()
    return canned_server


@pytest.fixture(scope="module")  # not longer: Playwright's event loop would be in the way of other modules' tests
def browser(chromium: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        yield started
        started.close()


@dataclass
class Watched:
    """A page and everything about it that must not happen."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def clean(self, own: str) -> None:
        """No console error, no policy violation, and no request to any host but our own."""
        assert self.errors == []
        assert [url for url in self.requests if not url.startswith((f"{own}/", "data:", "blob:"))] == []

    def text(self, selector: str) -> str:
        """What the first element of that kind says, in one line; empty while there is none."""
        found = self.page.locator(selector)
        return re.sub(r"\s+", " ", found.first.inner_text()).strip() if found.count() else ""

    def says(self, selector: str, words: str) -> None:
        """Wait until the element says these words."""

        def said() -> bool:
            text = self.text(selector)
            assert words in text, f"{selector} says {text!r}, not {words!r}"
            return True

        eventually(said)

    def charts(self, atleast: int = 1) -> None:
        """Wait until so many charts are drawn."""
        eventually(lambda: self.page.locator(".plot .main-svg").count() >= atleast)


OpenPage = Callable[..., Watched]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open pages (`open_page(url, width=..., dark=...)`), each in a browser profile of its own."""
    contexts = []

    def opened(
        url: str,
        *,
        width: int = 1440,
        height: int = 900,
        dark: bool = False,
        script: str = "",
        clock: bool = False,
        still: datetime | None = None,
    ) -> Watched:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            timezone_id="America/New_York",  # not UTC, so that a time shown in the browser's zone is found out
        )
        contexts.append(context)
        context.add_init_script(WATCH + script)
        watched = Watched(context.new_page())

        def heard(message: ConsoleMessage) -> None:
            # A 404 of the API is an answer ("not yet"), which the browser reports as an error all the same.
            if message.type == "error" and "status of 404" not in message.text:
                watched.errors.append(message.text)

        def asked(request: BrowserRequest) -> None:
            watched.requests.append(request.url)

        watched.page.on("console", heard)
        watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
        watched.page.on("request", asked)
        if clock:
            watched.page.clock.install()  # time goes on as ever, and `fast_forward` makes it jump
        if still is not None:  # time stands still at this moment, from before the page is there
            watched.page.clock.install(
                time=still - timedelta(hours=1)
            )  # and goes on from there until it is told to stand
            watched.page.clock.pause_at(still)
        watched.page.goto(url)
        return watched

    yield opened
    for context in contexts:
        context.close()
