"""`POST /v1/hooks/{source}` of the real server, by HTTP and by the command line."""

from __future__ import annotations

import concurrent.futures
import gzip
import hmac
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.running import RunningServer

SECRET = "a-secret-of-32-characters-or-so!"  # noqa: S105  # made for the test
MAPPING = {
    "id": "delivery",
    "events": "cases",
    "when": "kind != 'ping'",
    "fields": {"request_id": "ref", "name": {"const": "ok"}, "value": "ok"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("hooks")
    (folder / "config.yaml").write_text(
        json.dumps(
            {
                "hooks": {
                    "reviews": {"signature": {"scheme": "github", "secrets": [{"env": "REVIEWS"}]}, "mapping": MAPPING}
                }
            }
        )
    )
    running = RunningServer(folder / "data", "--config", str(folder / "config.yaml"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVIEWS", SECRET)
        running.start()
        yield running
        running.end()


def send(
    server: RunningServer, content: Any, source: str = "reviews", secret: str = SECRET, **headers: str
) -> httpx.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    signature = "sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest()
    given = {"content-type": "application/json", "x-hub-signature-256": signature, **headers}
    return server.http.post(f"/v1/hooks/{source}", content=body, headers=given)


def test_a_delivery_is_stored_when_it_is_answered(server: RunningServer) -> None:
    """Also right after a kill; a redelivery counts once, before and after it."""
    first = server.http.get("/v1/hooks/reviews").json()
    content = {"delivery": 1, "cases": [{"ref": "h-1", "ok": False}, {"ref": "h-2", "ok": True}, {"kind": "ping"}]}
    answer = send(server, content)
    assert (answer.status_code, answer.json()) == (
        200,
        {"accepted": 2, "duplicates": 0, "rejected": 0, "filtered": 1, "unmapped": 0, "errors": []},
    )
    before = server.http.get("/v1/hooks/reviews").json()
    server.kill()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVIEWS", SECRET)
        server.start()
    after = server.http.get("/v1/hooks/reviews").json()
    assert after == before
    assert after["counts"]["mapped"] == first["counts"]["mapped"] + 1
    assert after["counts"]["received"] == sum(
        after["counts"][way] for way in ("mapped", "filtered", "unmapped", "rejected")
    )
    assert after["events"]["accepted"] == first["events"]["accepted"] + 2
    assert [event["value"] for event in server.story("h-1")["label_events"]] == [False]
    again = send(server, content).json()
    assert (again["accepted"], again["duplicates"]) == (0, 2)


def test_one_delivery_many_times_at_once_counts_once(server: RunningServer) -> None:
    content = {"delivery": 2, "cases": [{"ref": "race", "ok": True}]}
    before = server.http.get("/v1/hooks/reviews").json()["counts"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(server, content).json(), range(16)))
    assert sum(answer["accepted"] for answer in answers) == 1
    assert sum(answer["duplicates"] for answer in answers) == 15
    after = server.http.get("/v1/hooks/reviews").json()["counts"]
    assert after["mapped"] - before["mapped"] == 16


def test_a_form_and_a_compressed_body_are_read(server: RunningServer) -> None:
    """The signature is that of the bytes as they were sent."""
    form = b"payload=%7B%22delivery%22%3A3%2C%22cases%22%3A%5B%7B%22ref%22%3A%22form%22%2C%22ok%22%3A1%7D%5D%7D"
    assert send(server, form, **{"content-type": "application/x-www-form-urlencoded"}).json()["accepted"] == 1
    packed = gzip.compress(json.dumps({"delivery": 4, "cases": [{"ref": "gzip", "ok": 1}]}).encode())
    assert send(server, packed, **{"content-encoding": "gzip"}).json()["accepted"] == 1


def test_what_is_not_taken_has_one_answer_each_and_is_counted(server: RunningServer) -> None:
    before = server.http.get("/v1/hooks/reviews").json()["counts"]
    good = json.dumps({"delivery": 5, "cases": []}).encode()
    cases: list[tuple[httpx.Response, int, str]] = [
        (send(server, good, secret="another-secret"), 401, "signature"),  # noqa: S106  # made for the test
        (server.http.post("/v1/hooks/reviews", content=good), 401, "signature"),
        (send(server, b""), 400, "invalid_json"),
        (send(server, b"\xff"), 400, "invalid_json"),
        (send(server, b"[" * 50_000), 400, "too_deep"),
        (send(server, b'{"a": 1' + b"0" * 5000 + b"}"), 400, "invalid_json"),
        (send(server, b" " * (1024 * 1024 + 1)), 413, "body_too_large"),
        (send(server, gzip.compress(b" " * 2_000_000), **{"content-encoding": "gzip"}), 413, "body_too_large"),
        (send(server, good, **{"content-encoding": "gzip"}), 400, "corrupt_body"),
        (send(server, good, **{"content-encoding": "br"}), 415, "unsupported_encoding"),
        (send(server, good, **{"content-type": "text/plain"}), 415, "unsupported_media_type"),
    ]
    for answer, status, code in cases:
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    after = server.http.get("/v1/hooks/reviews").json()["counts"]
    assert after["rejected"] - before["rejected"] == len(cases)
    assert send(server, good, source="nobody").status_code == 404


def test_it_is_mended_by_preview_put_and_replay(server: RunningServer, tmp_path: Path) -> None:
    """As a person does it: a body waits, a mapping is tried on it, put in force, and what waited is replayed."""
    config = {
        "signature": {"scheme": "none"},
        "mapping": {**MAPPING, "fields": {"request_id": "reference", "value": "ok"}},
    }
    assert server.http.put("/v1/hooks/mended", json=config).status_code == 200
    body = {"delivery": 1, "cases": [{"ref": "mended", "ok": 0}]}
    kept = server.post("/v1/hooks/mended", body)
    assert (kept.status_code, kept.json()["unmapped"]) == (202, 1)
    assert kept.json()["errors"] == [{"index": 0, "loc": "request_id", "code": "missing"}]
    (tmp_path / "body.json").write_text(json.dumps(body))
    (tmp_path / "mapping.yaml").write_text(json.dumps(MAPPING))
    refused = upshot(server, tmp_path, "preview", "body.json", "--source", "mended")
    assert (refused.returncode, "request_id: missing" in refused.stderr) == (1, True)
    tried = upshot(
        server, tmp_path, "preview", "body.json", "--source", "mended", "--mapping", "mapping.yaml", "--json"
    )
    assert [event["value"] for event in json.loads(tried.stdout)["events"]] == [0]
    assert server.http.get("/v1/predictions/mended").status_code == 404
    assert server.http.put("/v1/hooks/mended", json={**config, "mapping": MAPPING}).status_code == 200
    assert (
        "1 bodies mapped, 1 label events new, 0 still wait"
        in upshot(server, tmp_path, "replay", "--source", "mended").stdout
    )
    assert [event["value"] for event in server.story("mended")["label_events"]] == [0]
    assert set(server.http.get("/v1/hooks").json()["sources"]) >= {"reviews", "mended"}


def test_what_is_wrong_with_a_configuration_is_said_by_its_place(server: RunningServer) -> None:
    wrong = {"signature": {"scheme": "none"}, "mapping": {"fields": {"request_id": "a[", "value": 1}}}
    answer = server.http.put("/v1/hooks/wrong", json=wrong)
    assert (answer.status_code, answer.json()["errors"]) == (
        422,
        [{"loc": "mapping.fields.request_id.expr", "code": "invalid_expression"}],
    )
    for path, content in (("/v1/hooks/wrong/preview", b"{"), ("/v1/hooks/wrong", b"{")):
        assert server.http.request("POST" if "preview" in path else "PUT", path, content=content).status_code < 500
    assert server.http.get("/v1/hooks/wrong").status_code == 404
    assert (
        server.http.put("/v1/hooks/WRONG", json={**wrong, "mapping": MAPPING}).json()["code"] == "invalid_source_name"
    )


def upshot(server: RunningServer, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "upshot_server", "hooks", *arguments],
        cwd=folder,
        env={**os.environ, "UPSHOT_URL": server.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
