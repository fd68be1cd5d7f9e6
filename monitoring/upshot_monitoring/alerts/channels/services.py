"""The border to Apprise (https://appriseit.com): Slack, email, PagerDuty, and every other service it knows by a URL.

Apprise says whether a message was taken, and writes into its log why not. So its log is read: ``error=404`` there is an HTTP
status, and tells a key that is wrong from a service that is down. What it does not say counts as passing. Loaded when first used:
that takes two seconds.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from upshot_monitoring.alerts.channels.contract import NotNow, Refused, failure
from upshot_monitoring.alerts.message import Message
from upshot_monitoring.alerts.settings import (
    AppriseChannel,
    EmailChannel,
    PagerDutyChannel,
    SecretMissing,
    SlackChannel,
)

_STATUS = re.compile(r"error=([1-5][0-9]{2})\b")
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_MODES = {"starttls": "starttls", "tls": "ssl", "none": "insecure"}


class Service:
    """One service, by way of Apprise."""

    def __init__(
        self, config: SlackChannel | EmailChannel | PagerDutyChannel | AppriseChannel, environment: Mapping[str, str]
    ) -> None:
        self._config = config
        self._environment = environment
        self.is_for_people = config.kind != "pagerduty"

    def send(self, message: Message) -> None:
        """One attempt."""
        self._once(message)
        if self._config.kind == "pagerduty" and message.kind == "test":
            self._once(replace(message, kind="resolved"))  # a test leaves no incident open

    def _once(self, message: Message) -> None:
        try:
            target = self._target(message)
        except SecretMissing:
            raise NotNow("secret_missing") from None
        with _COLLECTOR.listening() as said:
            import apprise

            logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)  # below that it says every path

            service = apprise.Apprise.instantiate(target)
            if service is None:
                raise Refused("invalid_settings")
            kind = "success" if message.is_good else "info" if message.kind == "test" else "failure"
            # Text, not markdown: the names in it are anybody's.
            taken = service.notify(
                title=message.title, body=message.text, notify_type=apprise.NotifyType(kind), body_format="text"
            )
        if not taken:
            statuses = [int(status) for line in said for status in _STATUS.findall(line)]
            raise failure(statuses[-1]) if statuses else NotNow("no_connection")

    def _target(self, message: Message) -> str | dict[str, Any]:
        """What Apprise makes the service from."""
        config, environment = self._config, self._environment
        if isinstance(config, SlackChannel | AppriseChannel):
            url = config.url.read(environment)
            return url + ("&" if "?" in url else "?") + "image=no&footer=no" if config.kind == "slack" else url
        if isinstance(config, PagerDutyChannel):
            return {
                "schema": "pagerduty",
                "apikey": "upshot",  # for older parts of PagerDuty's API; the routing key is what counts
                "integrationkey": config.routing_key.read(environment),
                "region": config.region,
                "dedup": message.incident,
                "action": "resolve" if message.kind in ("resolved", "known") else "trigger",
                "severity": message.severity,
                "source": "upshot",
                "component": message.model or "upshot",
                "click": message.link,
                "details": {
                    name: str(value)
                    for name, value in message.figures.items()
                    if name != "comparisons" and value not in (None, "", [])
                },
                "include_image": False,
            }
        login = ""
        if config.user is not None:
            password = config.password.read(environment) if config.password is not None else ""
            login = f"{quote(config.user, safe='')}:{quote(password, safe='')}@"
        port = config.port or _PORTS[config.security]
        to = ",".join(quote(one, safe="@") for one in config.to)
        return (
            f"{'mailto' if config.security == 'none' else 'mailtos'}://{login}{config.host}:{port}/"
            f"?from={quote(config.from_, safe='@')}&to={to}&mode={_MODES[config.security]}&smtp={quote(config.host)}"
        )


class _Collector(logging.Filter):
    """Takes what Apprise logs, thread by thread, and lets none of it go anywhere else: it may hold what is sent, and keys."""

    def __init__(self) -> None:
        super().__init__()
        self._of_thread = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep a warning of a thread that listens."""
        said: list[str] | None = getattr(self._of_thread, "said", None)
        if said is not None and record.levelno >= logging.WARNING:
            said.append(record.getMessage())
        return False

    @contextmanager
    def listening(self) -> Iterator[list[str]]:
        """What is logged in this thread meanwhile."""
        logging.getLogger("apprise").addFilter(self)  # once: a filter that is there is not added again
        self._of_thread.said = []
        try:
            yield self._of_thread.said
        finally:
            self._of_thread.said = None


_COLLECTOR = _Collector()
