"""Verify and parse a signed label webhook of 20 kB, against the least that can be done: one HMAC and one fast parse.

Run as ``python -m tests.bench.bench_signatures``; prints a ratio, decides nothing.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson

from upshot_joiner.intake.webhooks import standard
from upshot_joiner.intake.webhooks.hooks import decode

ROUNDS = 40
CALLS = 50
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def best_us(works: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Microseconds of one call of each, of its best round: what the machine did besides only adds. Rounds take turns."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(ROUNDS):
        for name, work in works.items():
            started = time.perf_counter()
            for _ in range(CALLS):
                work()
            best[name] = min(best[name], (time.perf_counter() - started) / CALLS * 1e6)
    return best


def _wrong(headers: dict[str, list[str]], place: int) -> dict[str, list[str]]:
    [text] = headers["webhook-signature"]
    other = "A" if text[place] != "A" else "E"
    return headers | {"webhook-signature": [text[:place] + other + text[place + 1 :]]}


def main() -> None:
    """Print it."""
    secrets = [standard.read_secret(standard.new_secret()) for _ in range(2)]
    body = msgspec.json.encode(
        [
            {"request_id": f"order-{n}", "name": "chargeback", "value": n % 2, "tags": {"reason": "fraudulent"}}
            for n in range(230)
        ]
    )
    timestamp = str(int(NOW.timestamp()))
    signed = b"msg_1." + timestamp.encode() + b"." + body
    text = "v1," + base64.b64encode(hmac.digest(secrets[0], signed, "sha256")).decode()
    headers: dict[str, list[str]] = {
        "webhook-id": ["msg_1"],
        "webhook-timestamp": [timestamp],
        "webhook-signature": [text],
    }

    def ours(live: int) -> Any:
        assert standard.verified_id(secrets[:live], headers, body, NOW) == "msg_1"
        return decode(body, "application/json", "")

    def least() -> Any:
        hmac.digest(secrets[0], signed, "sha256")
        return orjson.loads(body)

    flood = headers | {"webhook-signature": [" ".join([text] * 10_000)]}
    least_name = "hmac.digest + orjson.loads"
    taken = best_us(
        {
            least_name: least,
            "verify + parse, one live secret": lambda: ours(1),
            "verify + parse, two live secrets": lambda: ours(2),
            "signature wrong in its first byte": lambda: standard.verified_id(secrets, _wrong(headers, 3), body, NOW),
            "signature wrong in its last byte": lambda: standard.verified_id(secrets, _wrong(headers, 45), body, NOW),
            "10,000 signatures, refused": lambda: standard.verified_id(secrets, flood, body, NOW),
        }
    )
    print(f"body of {len(body)} bytes")
    for name, microseconds in taken.items():
        print(f"{name:34}{microseconds:8.1f} us  {microseconds / taken[least_name]:5.2f} x")


if __name__ == "__main__":
    main()
