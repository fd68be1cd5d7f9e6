"""The configuration of one source of webhooks: how it signs, and how its bodies become label events."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints
from pydantic_core import PydanticCustomError

from upshot_joiner.errors import Place, Problem
from upshot_joiner.intake.webhooks import standard
from upshot_joiner.intake.webhooks.expression import Expression

MIN_SECRET_LENGTH = 8
MAX_SECRETS = 8
KEPT = "kept"

_HEADER = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"
HeaderName = Annotated[str, StringConstraints(to_lower=True, pattern=_HEADER)]
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
"""What a mapping looks at is kept with a body that waits, and shown: never these."""
Constant = bool | int | float | str
TimeForm = Literal["iso", "iso_utc", "epoch_s", "epoch_ms"]


def _expression(text: str) -> str:
    try:
        Expression(text)
    except ValueError as error:
        raise PydanticCustomError("invalid_expression", "{reason}", {"reason": str(error)}) from None
    return text


ExpressionText = Annotated[str, pydantic.AfterValidator(_expression)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Secret(_Section):
    """A secret by the name of the environment variable that holds it, or itself."""

    env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")] | None = None
    value: SecretStr | None = None

    @pydantic.model_validator(mode="after")
    def _one_of_them(self) -> Secret:
        if (self.env is None) == (self.value is None):
            raise PydanticCustomError("one_of", "give `env` or `value`")
        return self


class _Signed(_Section):
    secrets: Annotated[list[Secret], Field(min_length=1, max_length=MAX_SECRETS)]


class StandardWebhooks(_Signed):
    """Standard Webhooks: the three ``webhook-`` headers, ``whsec_`` secrets."""

    scheme: Literal["standard"]


class Stripe(_Signed):
    """``Stripe-Signature: t=...,v1=...``."""

    scheme: Literal["stripe"]


class GitHub(_Signed):
    """``X-Hub-Signature-256: sha256=...``."""

    scheme: Literal["github"]


class Hmac(_Signed):
    """An HMAC of the body in a header."""

    scheme: Literal["hmac"]
    header: HeaderName
    algorithm: Literal["sha1", "sha256", "sha384", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: Annotated[str, StringConstraints(max_length=100)] = ""
    """What stands in the header before the HMAC."""


class SharedSecret(_Signed):
    """The secret itself in a header."""

    scheme: Literal["header"]
    header: HeaderName
    prefix: Annotated[str, StringConstraints(max_length=100)] = ""


class Unsigned(_Section):
    """Nothing is checked: for senders on this machine."""

    scheme: Literal["none"]


Signature = Annotated[
    StandardWebhooks | Stripe | GitHub | Hmac | SharedSecret | Unsigned, Field(discriminator="scheme")
]


class Taken(_Section):
    """A field of a label event: an expression over the event, the whole body or the listed headers; or a constant."""

    expr: ExpressionText | None = None
    const: Constant | None = None
    of: Literal["event", "body", "headers"] = "event"

    @pydantic.model_validator(mode="after")
    def _one_of_them(self) -> Taken:
        if (self.expr is None) == (self.const is None):
            raise PydanticCustomError("one_of", "give `expr` or `const`")
        return self


class TakenTime(Taken):
    """A moment, and how its sender writes it."""

    time: TimeForm = "iso"


def _spelled_out(value: object) -> object:
    """A text alone is an expression, any other scalar alone a constant."""
    if isinstance(value, str):
        return {"expr": value}
    return {"const": value} if isinstance(value, bool | int | float) else value


Field_ = Annotated[Taken, pydantic.BeforeValidator(_spelled_out)]
TimeField = Annotated[TakenTime, pydantic.BeforeValidator(_spelled_out)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class Fields(_Section):
    """What a label event is made of."""

    request_id: Field_ | None = None
    entity: Annotated[dict[Name, Field_], Field(max_length=100)] = {}
    item_id: Field_ | None = None
    name: Field_ | None = None
    value: Field_ | None = None
    op: Field_ | None = None
    observed_at: TimeField | None = None
    model: Field_ | None = None
    source: Field_ | None = None
    label_id: Field_ | None = None
    tags: Annotated[dict[Name, Field_], Field(max_length=100)] = {}

    @pydantic.model_validator(mode="after")
    def _labels_something(self) -> Fields:
        if self.request_id is None and not self.entity:
            raise PydanticCustomError("missing", "a label needs `request_id` or `entity`")
        return self


class MappingConfig(_Section):
    """How a body becomes label events."""

    events: ExpressionText = "@"
    """What the body holds: one event, or a list of them."""
    id: ExpressionText | None = None
    """The sender's own ID of this delivery, in the body: what comes again under it counts once."""
    when: Annotated[list[Field_], Field(max_length=20)] = []
    """Every one has to hold (by JMESPath's truth) for an event to become a label event."""
    fields: Fields
    value_map: Annotated[dict[str, Constant], Field(max_length=10_000)] = {}
    """From the sender's words to values; ``"*"`` stands for every other word."""
    headers: Annotated[list[HeaderName], Field(max_length=20)] = []
    """Headers that the mapping may look at."""

    @pydantic.field_validator("when", mode="before")
    @classmethod
    def _one_is_a_list_too(cls, value: object) -> object:
        return [value] if isinstance(value, str | dict) else value

    @pydantic.field_validator("headers")
    @classmethod
    def _no_secrets(cls, value: list[str]) -> list[str]:
        if not _SECRET_HEADERS.isdisjoint(value):
            raise PydanticCustomError("not_allowed", "a mapping sees no header that holds a credential")
        return value


class SourceConfig(_Section):
    """Everything that can be configured of a source."""

    signature: Signature
    mapping: MappingConfig

    @pydantic.model_validator(mode="after")
    def _no_secrets(self) -> SourceConfig:
        if isinstance(self.signature, SharedSecret) and self.signature.header in self.mapping.headers:
            raise PydanticCustomError("not_allowed", "a mapping does not see the header that holds the secret")
        return self

    @property
    def secrets(self) -> list[Secret]:
        """The secrets of its signature."""
        return [] if isinstance(self.signature, Unsigned) else self.signature.secrets

    def shown(self) -> dict[str, Any]:
        """The configuration without the secrets: what answers and the history hold."""
        shown = self.model_dump(mode="json", exclude_defaults=True)
        for secret in shown["signature"].get("secrets", ()):
            if "value" in secret:
                secret["value"] = KEPT
        return shown

    def whole(self) -> dict[str, Any]:
        """The configuration with the secrets: for the store."""
        whole = self.shown()
        for secret, given in zip(whole["signature"].get("secrets", ()), self.secrets, strict=True):
            if given.value is not None:
                secret["value"] = given.value.get_secret_value()
        return whole


def read_mapping(raw: Any) -> MappingConfig:
    """Check a mapping; raises a 422 :class:`Problem` that names every wrong place."""
    try:
        return MappingConfig.model_validate(raw)
    except pydantic.ValidationError as error:
        raise _invalid(error, "mapping") from None


def read_source(raw: Any, before: SourceConfig | None = None) -> SourceConfig:
    """Check a configuration; raises a 422 :class:`Problem` that names every wrong place.

    A signature without ``secrets`` keeps those of ``before``.
    """
    if isinstance(raw, dict) and isinstance(raw.get("signature"), dict) and "secrets" not in raw["signature"]:
        kept = [] if before is None else before.whole()["signature"].get("secrets", [])
        if kept and raw["signature"].get("scheme") != "none":
            raw = {**raw, "signature": {**raw["signature"], "secrets": kept}}
    try:
        config = SourceConfig.model_validate(raw)
    except pydantic.ValidationError as error:
        raise _invalid(error) from None
    places: list[Place] = []
    for index, secret in enumerate(config.secrets):
        if secret.value is not None and not is_secret(config.signature, secret.value.get_secret_value()):
            places.append({"loc": f"signature.secrets.{index}", "code": "invalid_secret"})
    if places:
        raise Problem(422, "invalid_config", "A secret is too short, or not as this scheme writes it.", places)
    return config


def is_secret(signature: Signature, text: str) -> bool:
    """Whether a text can be a secret of this scheme."""
    if not isinstance(signature, StandardWebhooks):
        return MIN_SECRET_LENGTH <= len(text) <= 1024 and text.isprintable()
    try:
        standard.read_secret(text)
    except ValueError:
        return False
    return True


def _invalid(error: pydantic.ValidationError, *prefix: str) -> Problem:
    places: list[Place] = [
        {"loc": ".".join([*prefix, *map(str, found["loc"])]) or "$", "code": found["type"]}
        for found in error.errors(include_input=False, include_url=False, include_context=False)
    ]
    return Problem(422, "invalid_config", "The configuration has errors.", places)
