"""A webhook of the user's own, signed by Standard Webhooks: our verifier (`POST /v1/labels`) would take it."""

from __future__ import annotations

import email.utils
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import httpx

from upshot_joiner.intake.webhooks import standard
from upshot_monitoring.alerts.channels.contract import NotNow, Refused, failure
from upshot_monitoring.alerts.message import Message
from upshot_monitoring.alerts.settings import Secret, SecretMissing, WebhookChannel

# It says every address at INFO, and an address is a secret here.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)

TIMEOUT_S = 10.0
"""To connect, to be taken from, and to wait for an answer. Of the answer, only its head is read."""


class Webhook:
    """POSTs a message. The receiver knows it by ``webhook-id``: the same message has the same one at every attempt."""

    is_for_people = False

    def __init__(self, config: WebhookChannel, environment: Mapping[str, str]) -> None:
        self._config = config
        self._environment = environment

    def send(self, message: Message) -> None:
        """One attempt. What the receiver answers is not read beyond its status."""
        body = message.body()
        try:
            url = self._config.url.read(self._environment)
            secrets = [self._secret(one) for one in self._config.secrets]
        except (SecretMissing, ValueError):
            raise NotNow("secret_missing") from None
        # The receiver compares it with its own clock, so this is the machine's time and not the store's.
        at = str(int(time.time()))
        signed = f"{message.id}.{at}.".encode() + body
        signatures = b" ".join(b"v1," + standard.signature(secret, signed) for secret in secrets).decode()
        headers = {standard.ID: message.id, standard.TIMESTAMP: at, standard.SIGNATURE: signatures}
        post(url, body, {"content-type": "application/json", **headers})

    def _secret(self, secret: Secret) -> bytes:
        return standard.read_secret(secret.read(self._environment))


def post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """POST in bounded time, following no redirect. Raises :class:`Refused` or :class:`NotNow`."""
    if not url.startswith(("http://", "https://")):
        raise Refused("invalid_url")
    try:
        with httpx.stream(
            "POST",
            url,
            content=body,
            headers={"user-agent": "upshot", **headers},
            timeout=TIMEOUT_S,
            follow_redirects=False,
        ) as answer:
            if not answer.is_success:
                raise failure(answer.status_code, retry_after(answer.headers.get("retry-after")))
    except httpx.InvalidURL:
        raise Refused("invalid_url") from None
    except httpx.TimeoutException:
        raise NotNow("timeout") from None
    except httpx.HTTPError:
        raise NotNow("no_connection") from None


def retry_after(header: str | None) -> float | None:
    """Seconds, of either form of ``Retry-After``."""
    if not header:
        return None
    if header.isascii() and header.isdigit():
        return float(header[:9])
    try:
        moment = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
