"""How alerts leave a server: its channels, heartbeat and pace. The ``alerting:`` section of the configuration file.

Secrets are named by the environment variable or the file that holds them, never written here, and never shown by the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from upshot_joiner.config import Duration
from upshot_joiner.errors import Place, Problem

MAX_SECRET_BYTES = 16_384

Pace = Annotated[Duration, Field(ge=timedelta(seconds=1), le=timedelta(days=1))]
Patience = Annotated[Duration, Field(ge=timedelta(0), le=timedelta(days=400))]
Text = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
ChannelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class SecretMissing(Exception):
    """A secret is not there now, or is none. Never holds it."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Secret(_Section):
    """Where a secret is: an environment variable, or a file, which is read whenever it is needed."""

    env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")] | None = None
    file: Text | None = None

    @pydantic.model_validator(mode="after")
    def _one_of_them(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise PydanticCustomError("one_of", "give `env` or `file`")
        return self

    def read(self, environment: Mapping[str, str]) -> str:
        """The secret as it is now, without white space around it. Raises :class:`SecretMissing`."""
        if self.env is not None:
            found = environment.get(self.env, "")
        else:
            try:
                with Path(self.file or "").open("rb") as file:
                    found = file.read(MAX_SECRET_BYTES).decode("utf-8")
            except (OSError, UnicodeDecodeError):
                raise SecretMissing from None
        if not found.strip():
            raise SecretMissing
        return found.strip()


class _Channel(_Section):
    max_per_hour: Annotated[int, Field(ge=1, le=10_000)] = 60
    """More messages than this wait; those to people are then sent together, as one."""


class WebhookChannel(_Channel):
    """A POST of JSON, signed by Standard Webhooks with each secret."""

    kind: Literal["webhook"]
    url: Secret
    secrets: Annotated[list[Secret], Field(min_length=1, max_length=3)]


class SlackChannel(_Channel):
    """An incoming webhook of Slack: ``https://hooks.slack.com/services/...``."""

    kind: Literal["slack"]
    url: Secret


class EmailChannel(_Channel):
    """A mail server."""

    kind: Literal["email"]
    host: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,253}$")]
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: Text | None = None
    password: Secret | None = None
    from_: Text = Field(alias="from")
    to: Annotated[list[Text], Field(min_length=1, max_length=20)]


class PagerDutyChannel(_Channel):
    """A service of PagerDuty, by the routing key of its Events API v2 integration."""

    kind: Literal["pagerduty"]
    routing_key: Secret
    region: Literal["us", "eu"] = "us"


class AppriseChannel(_Channel):
    """Any service that Apprise knows, by its URL (https://appriseit.com): Teams, Discord, Telegram, Opsgenie ..."""

    kind: Literal["apprise"]
    url: Secret


ChannelConfig = Annotated[
    WebhookChannel | SlackChannel | EmailChannel | PagerDutyChannel | AppriseChannel, Field(discriminator="kind")
]


class HeartbeatConfig(_Section):
    """The dead man's switch: a URL that is called as long as rules are really evaluated."""

    url: Secret
    every: Pace = timedelta(minutes=1)


class Alerting(_Section):
    """Everything that can be set of alerts on a server."""

    every: Pace = timedelta(minutes=1)
    """How often the rules are evaluated."""
    repeat: Patience = timedelta(0)
    """A firing alert is told again after so long, unless its rule says otherwise; 0: never."""
    give_up_after: Annotated[Duration, Field(ge=timedelta(minutes=1), le=timedelta(days=30))] = timedelta(days=3)
    """A message that cannot be delivered for so long is given up."""
    link: Annotated[str, StringConstraints(max_length=500, pattern=r"^https?://[^\s\"<>\\]+$")] | None = None
    """The address of the dashboard in messages."""
    heartbeat: HeartbeatConfig | None = None
    channels: Annotated[dict[ChannelName, ChannelConfig], Field(max_length=100)] = {}


def read_alerting(raw: Any) -> Alerting:
    """Check the section; raises a 422 :class:`Problem` that names every wrong place. None is a section with nothing in it."""
    try:
        return Alerting.model_validate({} if raw is None else raw)
    except pydantic.ValidationError as error:
        places: list[Place] = [
            {"loc": ".".join(["alerting", *(str(part) for part in found["loc"])]), "code": found["type"]}
            for found in error.errors(include_input=False, include_url=False)
        ]
        raise Problem(422, "invalid_config", "The section `alerting:` has errors.", places) from None
