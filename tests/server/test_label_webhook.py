"""`POST /v1/labels` as a webhook: signed deliveries to the real server count once, also when it is killed in between."""

from __future__ import annotations

import base64
import concurrent.futures
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.running import RunningServer
from upshot_joiner.intake.webhooks.access import hash_of, new_key
from upshot_joiner.intake.webhooks.standard import new_secret

SECRET = new_secret()
KEY = new_key()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("label-webhook")
    (folder / "secrets").write_text(SECRET)
    running = RunningServer(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSHOT_LABEL_SECRETS_FILE", str(folder / "secrets"))
        patch.setenv("UPSHOT_LABEL_KEYS", f"{hash_of(new_key())} {hash_of(KEY)}")
        patch.setenv("UPSHOT_LABEL_AUTH", "required")
        running.start()
        yield running
        running.end()


def send(
    server: RunningServer,
    content: Any,
    id_: str,
    *,
    secret: str = SECRET,
    form: str = "application/json",
    at: int | None = None,
) -> httpx.Response:
    """A signed delivery."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    timestamp = str(int(time.time()) if at is None else at)
    mac = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), digestmod=hashlib.sha256)
    for part in (id_, ".", timestamp, "."):
        mac.update(part.encode())
    mac.update(body)
    headers = {
        "content-type": form,
        "webhook-id": id_,
        "webhook-timestamp": timestamp,
        "webhook-signature": "v1," + base64.b64encode(mac.digest()).decode(),
    }
    return server.http.post("/v1/labels", content=body, headers=headers)


def test_a_delivery_counts_once_however_often_it_comes(server: RunningServer) -> None:
    """The repeat is told so; nothing of it is stored, and what was refused the first time is not kept twice."""
    events = [{"request_id": "once", "value": 0}, {"request_id": "once", "value": [1]}]
    first = send(server, events, "msg_once")
    assert first.json() == {
        "accepted": 1, "duplicates": 0, "rejected": 1, "errors": [{"index": 1, "loc": "value", "code": "wrong_type"}],
    }  # fmt: skip
    for _ in range(2):
        again = send(server, events, "msg_once")
        assert again.status_code == 200
        assert again.json() == first.json() | {"accepted": 0, "duplicates": 1, "duplicate": True}
    assert len(server.story("once")["label_events"]) == 1


def test_another_body_under_a_known_id_is_refused(server: RunningServer) -> None:
    """Both are signed well; the first one counts."""
    assert send(server, {"request_id": "conflict", "value": 1}, "msg_conflict").status_code == 200
    second = send(server, {"request_id": "conflict", "value": 0}, "msg_conflict")
    assert (second.status_code, second.json()["code"]) == (409, "id_conflict")
    assert [event["value"] for event in server.story("conflict")["label_events"]] == [1]


def test_one_id_many_times_at_once_counts_once(server: RunningServer) -> None:
    """Exactly one of them is answered as the first."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(server, {"request_id": "race", "value": 2}, "msg_race"), range(16)))
    assert {answer.status_code for answer in answers} == {200}
    assert sum(answer.json()["accepted"] for answer in answers) == 1
    assert sum(answer.json().get("duplicate", False) for answer in answers) == 15


def test_what_was_refused_whole_is_told_again(server: RunningServer) -> None:
    for expected in (None, True):
        answer = send(server, {"request_id": "refused", "value": None}, "msg_refused")
        assert (answer.status_code, answer.json()["code"]) == (422, "all_rejected")
        assert answer.json().get("duplicate") is expected


def test_a_wrong_signature_a_bad_body_and_a_wrong_event_are_three_answers(server: RunningServer) -> None:
    """401, 400, 415 and 422; a body that could not be read may be sent again under its ID."""
    good = {"request_id": "three", "value": 1}
    wrong = send(server, good, "msg_three", secret=new_secret())
    assert (wrong.status_code, wrong.json()["code"]) == (401, "signature")
    for body, status in (
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"request_id": "three", "value": NaN}', 422),
        (b"[" * 100_000, 400),
        (b'{"request_id": "three", "value": 1, "value": 0}', 400),
        (b"null", 422),
        (b'{"request_id": "three"}', 422),
    ):
        answer = send(server, body, f"msg_bad_{hashlib.sha256(body).hexdigest()}")
        assert answer.status_code == status, (body[:50], answer.text)
    assert send(server, b"{", "msg_three").status_code == 400
    assert send(server, good, "msg_three", form="text/plain").status_code == 415
    assert send(server, good, "msg_three").json()["accepted"] == 1


def test_a_replay_after_the_window_is_refused(server: RunningServer) -> None:
    then = int(time.time()) - 302
    assert send(server, {"request_id": "replay", "value": 1}, "msg_replay", at=then).status_code == 401


def test_without_a_signature_and_without_a_key_nothing_is_taken(server: RunningServer) -> None:
    label = {"request_id": "keyless", "value": 1}
    for headers in ({}, {"authorization": f"Bearer {new_key()}"}, {"x-api-key": ""}):
        answer = server.post("/v1/labels", label, **headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert server.post(f"/v1/labels?api_key={KEY}&x-api-key={KEY}", label).status_code == 401
    assert server.http.get("/v1/predictions/keyless").status_code == 404
    assert server.post("/v1/labels", label, authorization=f"Bearer {KEY}").json()["accepted"] == 1
    assert server.post("/v1/labels", label, **{"x-api-key": KEY}).json()["duplicates"] == 1
    assert KEY not in server.log


def test_every_fault_of_a_signature_has_the_same_answer(server: RunningServer) -> None:
    """One status, one code, the same bytes."""
    body = b'{"request_id": "oracle", "value": 1}'
    good = send(server, body, "msg_oracle").request.headers
    answers = set()
    for name, value in (
        ("webhook-id", "msg.x"),
        ("webhook-id", "msg_other"),
        ("webhook-timestamp", "1e9"),
        ("webhook-timestamp", "1"),
        ("webhook-signature", "v1"),
        ("webhook-signature", "v1," + base64.b64encode(b"\0" * 32).decode()),
        ("webhook-signature", " ".join(["v1," + base64.b64encode(b"\0" * 32).decode()] * 200)),
    ):
        answer = server.http.post("/v1/labels", content=body, headers={**good, name: value})
        answers.add((answer.status_code, answer.content))
    assert len(answers) == 1
    assert answers.pop()[0] == 401


def test_ids_are_known_after_a_kill(server: RunningServer) -> None:
    """kill -9 right after the answer: the repeat is known, and so is the conflict."""
    assert send(server, {"request_id": "killed", "value": 1}, "msg_killed").json()["accepted"] == 1
    server.kill()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSHOT_LABEL_SECRETS_FILE", str(server.data.parent / "secrets"))
        patch.setenv("UPSHOT_LABEL_KEYS", hash_of(KEY))
        server.start()
    assert send(server, {"request_id": "killed", "value": 1}, "msg_killed").json()["duplicate"] is True
    assert send(server, {"request_id": "killed", "value": 2}, "msg_killed").status_code == 409


def test_a_malformed_setting_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    running = RunningServer(tmp_path / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSHOT_LABEL_SECRETS", "whsec_short")
        with pytest.raises(RuntimeError, match="secrets for labels cannot be read") as ended:
            running.start()
    assert "whsec_short" not in str(ended.value)
