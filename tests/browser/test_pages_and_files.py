"""What the pages and their files promise, without a browser."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.browser.canned import HOSTILE
from tests.browser.conftest import Canned
from upshot_monitoring.dashboard import assets, pages

FOLDER = Path(pages.__file__).parent
SCRIPTS = sorted((FOLDER / "static").rglob("*.js"))
TEMPLATES = sorted((FOLDER / "templates").glob("*.html"))


@pytest.fixture(scope="module")
def client(canned_server: Canned) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=canned_server.url) as client:
        yield client


@pytest.mark.parametrize(
    "path", ["/", "/models/any", "/models/a/b.c", "/writers", "/requests", "/requests/a/b", "/static/nothing"]
)
def test_every_page_forbids_foreign_and_inline_scripts(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    assert policy["base-uri"] == "'none'"
    assert policy["frame-ancestors"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("text", HOSTILE)
def test_names_in_an_address_stay_text_in_the_page(text: str) -> None:
    for page in (pages.render_model(text), pages.render_request(text)):
        for payload in re.findall(r"<\s*(?:img|svg|iframe|style|b|a href=.(?:javascript|http))[^>]*", page):
            assert "pwned" not in payload
            assert "canary" not in payload
        assert "<script>" not in page


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_script_writes_html_or_runs_text(script: Path) -> None:
    source = script.read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc", source)


@pytest.mark.parametrize("path", [*SCRIPTS, *TEMPLATES, FOLDER / "static" / "upshot.css"], ids=lambda path: path.name)
def test_nothing_comes_from_another_host(path: Path) -> None:
    hosts = set(re.findall(r"https?://[^\s\"'`)]+", path.read_text()))
    assert hosts <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_have_no_inline_scripts_or_handlers(template: Path) -> None:
    source = template.read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)", source)
    assert not re.search(r"<[^>]+\son\w+=", source)


def test_no_element_takes_a_name_that_plotly_would_mistake_for_a_module_loader() -> None:
    """An element with id "exports" is a global variable of that name, and plotly.js then hides itself in it."""
    for template in TEMPLATES:
        assert not re.search(r"id=\"(exports|module|define)\"|panel\(\"(exports|module|define)\"", template.read_text())


def test_every_import_of_a_module_is_a_file_that_is_served(client: httpx.Client) -> None:
    for script in SCRIPTS:
        for name in re.findall(r'from "(\.[^"]+)"', script.read_text()):
            target = (script.parent / name).resolve().relative_to(FOLDER / "static").as_posix()
            assert client.get(assets.address(target)).status_code == 200


def test_files_are_kept_for_ever_under_an_address_that_changes_with_their_content(client: httpx.Client) -> None:
    first = client.get(assets.address("live.js"))
    assert "immutable" in first.headers["cache-control"]
    assert client.get("/static/0123456789ab/live.js").headers["cache-control"] == "no-cache"
    again = client.get(assets.address("live.js"), headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_plotly_is_sent_compressed_and_whole(client: httpx.Client) -> None:
    with client.stream("GET", assets.address(assets.PLOTLY), headers={"accept-encoding": "gzip"}) as answer:
        sent = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip"
    whole = pages.plotly_path().read_bytes()
    assert gzip.decompress(sent) == whole
    assert len(sent) < len(whole) / 3
    plain = client.get(assets.address(assets.PLOTLY), headers={"accept-encoding": "identity"})
    assert plain.content == whole


@pytest.mark.parametrize(
    "path", ["../pages.py", "%2e%2e/pages.py", "x/../../pages.py", "/etc/passwd", "templates/base.html", ""]
)
def test_only_the_dashboards_own_files_are_served(client: httpx.Client, path: str) -> None:
    assert client.get(f"/static/{path}").status_code == 404
    assert assets.find(path) is None


def test_the_page_of_a_wrong_address_leads_back() -> None:
    assert 'href="/"' in pages.render_not_found()
