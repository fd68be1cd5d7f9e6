"""Webhooks at two servers over a cluster of two shards: what one was told, the other knows."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tests.running_clickhouse import RunningClickHouse, cluster_of, require_clickhouse
from tests.waiting import eventually
from upshot_joiner.clock import SystemClock
from upshot_joiner.intake.webhooks.standard import new_secret
from upshot_server.app import create_app
from upshot_server.parts import Parts
from upshot_server.settings import Settings

SECRET = new_secret()


class Here:
    """A server in this process: a shared store is nobody's alone."""

    def __init__(self, parts: Parts) -> None:
        self._transport = httpx.ASGITransport(create_app(parts))

    def request(self, method: str, path: str, **given: Any) -> httpx.Response:
        """One request, to its end."""

        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://127.0.0.1", timeout=60) as http:
                return await http.request(method, path, **given)

        return asyncio.run(ask())


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Here]]:
    require_clickhouse()
    folder = tmp_path_factory.mktemp("webhooks-scale-out")
    shards = [RunningClickHouse(folder / f"shard-{n}") for n in range(2)]
    for shard in shards:
        shard.settings = cluster_of(shards)
        shard.start()
    opened = []
    for n in range(2):
        settings = Settings(
            data_dir=folder / f"server-{n}",
            clickhouse=SecretStr(",".join(shard.url for shard in shards)),
            label_secrets=(SecretStr(SECRET),),
        )
        opened.append(Parts.open(settings, SystemClock()))
    yield [Here(parts) for parts in opened]
    for parts in opened:
        parts.close()
    for shard in shards:
        shard.stop()


def send(server: Here, content: Any, id_: str) -> httpx.Response:
    """A signed delivery."""
    body, timestamp = json.dumps(content).encode(), str(int(time.time()))
    signed = f"{id_}.{timestamp}.".encode() + body
    mac = hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    headers = {
        "content-type": "application/json",
        "webhook-id": id_,
        "webhook-timestamp": timestamp,
        "webhook-signature": "v1," + base64.b64encode(mac).decode(),
    }
    return server.request("POST", "/v1/labels", content=body, headers=headers)


def test_a_delivery_counts_once_whichever_server_it_comes_to(two: list[Here]) -> None:
    one, other = two
    labels = [{"request_id": f"both-{n}", "value": n} for n in range(20)]
    assert send(one, labels, "msg_both").json()["accepted"] == 20
    again = send(other, labels, "msg_both").json()
    assert (again["accepted"], again["duplicates"], again["duplicate"]) == (0, 20, True)
    assert send(other, labels[:1], "msg_both").status_code == 409
    for server in two:
        assert len(server.request("GET", "/v1/predictions/both-7").json()["label_events"]) == 1


def test_a_source_of_one_server_is_one_of_the_other(two: list[Here]) -> None:
    """Within seconds; what came to one is counted, and replayed, at the other."""
    one, other = two
    mapping = {"id": "id", "events": "list", "fields": {"request_id": "r", "value": "v"}}
    config = {"signature": {"scheme": "none"}, "mapping": mapping}
    assert one.request("PUT", "/v1/hooks/shared", json=config).status_code == 200
    eventually(lambda: other.request("GET", "/v1/hooks/shared").status_code == 200, 30)
    body = {"id": 1, "list": [{"r": f"shared-{n}", "v": 1} for n in range(10)] + [{"ref": "shared-x", "v": 1}]}
    assert one.request("POST", "/v1/hooks/shared", json=body).json()["accepted"] == 10
    again = other.request("POST", "/v1/hooks/shared", json=body).json()
    assert (again["accepted"], again["duplicates"], again["unmapped"]) == (0, 10, 1)
    for server in two:
        told = server.request("GET", "/v1/hooks/shared").json()
        assert (told["counts"]["received"], told["counts"]["unmapped"], told["waiting"]["bodies"]) == (2, 2, 1)
    mended = {**mapping, "fields": {"request_id": "r || ref", "value": "v"}}
    assert other.request("PUT", "/v1/hooks/shared", json={**config, "mapping": mended}).status_code == 200
    replayed = other.request("POST", "/v1/hooks/shared/replay").json()
    assert (replayed["replayed"], replayed["accepted"], replayed["duplicates"], replayed["waiting"]) == (1, 1, 10, 0)
    assert len(one.request("GET", "/v1/predictions/shared-x").json()["label_events"]) == 1
