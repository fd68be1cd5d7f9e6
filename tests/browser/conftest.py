"""A real Chromium, and a server with our real pages whose API answers what a test tells it to."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, sync_playwright
from playwright.sync_api import Request as BrowserRequest
from tests.browser.canned import Answers

from upshot_server.routes.dashboard import router

CHROMIUM = Path(os.environ.get("UPSHOT_TEST_CHROMIUM", "/usr/bin/chromium"))
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


@dataclass
class Canned:
    """Our pages with an API that answers from `answers` (by raw path, or by path and version) and 404 otherwise."""

    url: str
    answers: Answers = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode()
        self.asked.append(path)
        version = request.query_params.get("version")
        # Browsers leave some letters as they are which Python escapes; both are the same address.
        keys = [path] if version is None else [f"{path}?version={version}"]
        for key, (status, answer) in self.answers.items():
            if key in keys or _same(key, keys[0]):
                body = answer if isinstance(answer, str) else json.dumps(answer)
                return Response(body, status, media_type="application/json")
        return Response('{"title": "Not found", "status": 404}', 404, media_type="application/problem+json")


def _same(key: str, asked: str) -> bool:
    from urllib.parse import unquote

    return unquote(key) == unquote(asked)


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


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    if not CHROMIUM.exists():
        missing = f"no Chromium at {CHROMIUM}: apt-get install chromium, or set UPSHOT_TEST_CHROMIUM"
        if os.environ.get("UPSHOT_TEST_REQUIRE") == "all":
            pytest.fail(missing)
        pytest.skip(missing)
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
    yield browser
    browser.close()


@dataclass
class Watched:
    """A page and everything about it that must not happen."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def clean(self, own: str) -> None:
        """No console error, no policy violation, and no request to any host but our own."""
        assert self.errors == []
        assert [url for url in self.requests if not url.startswith((own + "/", "data:", "blob:"))] == []


OpenPage = Callable[..., Watched]

VIOLATIONS = "addEventListener('securitypolicyviolation', e => console.error('CSP: ' + e.violatedDirective + ' ' + e.blockedURI))"


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[OpenPage]:
    """Open pages (`open_page(url, width=..., dark=...)`) in a browser profile of their own."""
    contexts = []

    def opened(url: str, *, width: int = 1440, height: int = 900, dark: bool = False) -> Watched:
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            timezone_id="America/New_York",  # not UTC, so that a time shown in the browser's zone is found out
        )
        contexts.append(context)
        context.add_init_script(VIOLATIONS)
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
        watched.page.goto(url)
        return watched

    yield opened
    for context in contexts:
        context.close()


def eventually(fact: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait until `fact()` is true; fail when that takes longer than `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.02)


def segment(text: str) -> str:
    """`text` as one part of an address."""
    return quote(text, safe="")
