"""Evidently's page in a real browser, as the server sends it: drawn, and without any rights."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import sync_playwright

from upshot_server.routes.monitoring import REPORT_HEADERS

ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report made by the real worker."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(1)
    for name, shift in (("reference", 0.0), ("current", 1.0)):
        pd.DataFrame(
            {"</script><b>x": rng.normal(shift, 1, 500), "c": rng.choice(["a", "</script><b>b"], 500)}
        ).to_parquet(folder / f"{name}.parquet")
    columns = [
        {
            "name": "</script><b>x",
            "kind": "numeric",
            "method": "wasserstein",
            "threshold": 0.1,
            "score": 0.987,
            "drifted": True,
        },
        {
            "name": "c",
            "kind": "categorical",
            "method": "jensen_shannon",
            "threshold": 0.1,
            "score": 0.0123,
            "drifted": False,
        },
    ]
    (folder / "request.json").write_text(json.dumps({"title": "a model", "columns": columns}))
    subprocess.run(
        [sys.executable, "-m", "upshot_monitoring.reports.evidently_worker", str(folder)], check=True, timeout=150
    )
    return folder / "report.html"


@pytest.fixture
def address(page_file: Path) -> Iterator[str]:
    """A site that shows the page in a frame, under the headers that the server sends."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            if self.path == "/report":
                for name, value in REPORT_HEADERS.items():
                    self.send_header(name, value)
            self.end_headers()
            frame = b"<script>localStorage.secret = 'ours'</script><iframe src=/report width=1200 height=1200></iframe>"
            self.wfile.write(page_file.read_bytes() if self.path == "/report" else frame)

        def log_message(self, *_: object) -> None:
            pass

    site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=site.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{site.server_port}/"
    site.shutdown()
    thread.join()
    site.server_close()


@pytest.mark.browser
def test_the_page_draws_itself_in_a_sandbox(address: str, chromium: Path) -> None:
    """Our scores and verdicts are on it, a row opens to its chart, and the frame has no origin, storage or network."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGS)
        try:
            page = browser.new_page(viewport={"width": 1300, "height": 1300})
            wrong: list[str] = []
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.goto(address)
            frame = page.frames[1]
            frame.get_by_text("wasserstein, all rows").wait_for(timeout=60_000)
            assert frame.get_by_text("0.987").is_visible()
            assert frame.locator("td", has_text="\u2039/script\u203a\u2039b\u203ax").first.is_visible()
            assert frame.locator("td b").count() == 0
            assert frame.get_by_text("Share of Drifted Columns").is_visible()
            frame.locator("td button").first.click()
            frame.locator(".js-plotly-plot").first.wait_for(timeout=60_000)
            assert wrong == []
            assert frame.evaluate("self.origin") == "null"
            assert (
                frame.evaluate("(() => { try { return localStorage.secret } catch (e) { return e.name } })()")
                == "SecurityError"
            )
            assert frame.evaluate("fetch('/').then(() => 'reached', (e) => e.name)") == "TypeError"
        finally:
            browser.close()
