"""What can be set, where it comes from, and which values are refused.

An argument wins over its environment variable (``UPSHOT_`` and the name in capitals), which wins over the default. The
environment is read when the logger is configured or first used, never on import.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, TypedDict
from urllib.parse import urlsplit

from upshot.capture.redaction import Redaction
from upshot.errors import ConfigurationError
from upshot.kafka_address import KafkaAddress

__all__ = ["Options", "Settings"]


class Options(TypedDict, total=False):
    """The keyword arguments of ``configure()`` and ``Logger()``: the fields of `Settings`, all optional."""

    url: str
    api_key: str
    model: str
    model_version: str
    flush_interval_s: float
    queue_max_events: int
    queue_max_bytes: int
    batch_max_events: int
    batch_max_bytes: int
    event_max_bytes: int
    request_timeout_s: float
    compression: Literal["zstd", "gzip"]
    on_full: Literal["drop", "block", "prune"]
    block_timeout_s: float
    sample_rate: float
    redact: Mapping[str, object] | str
    redact_key: str
    spool: bool
    spool_dir: str
    spool_max_bytes: int
    spool_keep_free_bytes: int


@dataclass(frozen=True, slots=True)
class Settings:
    """One logger's settings, checked."""

    url: str = "http://127.0.0.1:8750"
    """Where the server listens: ``http://`` or ``https://``, a path in front of ``/v1`` is allowed."""
    api_key: str = field(default="", repr=False)
    model: str = ""
    """The model of predictions that do not name one."""
    model_version: str = ""
    flush_interval_s: float = 1.0
    """How long an event waits at most before it is sent. Ten times a second costs ten times the CPU per event."""
    queue_max_events: int = 16_384
    """How many predictions may wait, and how many labels: two queues of this size, each about 14 MB when full."""
    queue_max_bytes: int = 64 * 1024 * 1024
    """The same bound in encoded bytes, for events far larger than the usual kilobyte."""
    batch_max_events: int = 1_000
    batch_max_bytes: int = 1024 * 1024
    """One request's events before compression."""
    event_max_bytes: int = 256 * 1024
    """A larger event is dropped and counted: it is a mistake more often than a feature."""
    request_timeout_s: float = 30.0
    """How long one request may take; generous, because a batch that is given up and sent again is work done twice."""
    compression: Literal["zstd", "gzip"] = "zstd"
    """Of requests over HTTP; ``gzip`` costs several times the CPU, and is for what stands between us and the server."""
    on_full: Literal["drop", "block", "prune"] = "drop"
    """What a full queue means for a new event: dropped at once; dropped after waiting ``block_timeout_s`` for room; or, from a
    half-full queue on, only a part of the requests is kept, and ``keep_probability`` says which part."""
    block_timeout_s: float = 1.0
    sample_rate: float = 1.0
    """Which part of the requests is logged, chosen by a hash of the request ID: above 0, up to 1."""
    redact: Mapping[str, object] | str = ""
    """What is dropped, hashed or masked in the call: ``{"drop": ["password"], "hash": ["entities.user"], "mask": ["~email"]}``,
    or as text ``drop:password; hash:entities.user; mask:~email``."""
    redact_key: str = field(default="", repr=False)
    """The secret of the hashes: at least 16 characters, the same in all services whose hashes should be equal."""
    spool: bool = True
    """Whether events are written to this machine's disk until the server has them."""
    spool_dir: str = ""
    """Where; empty: ``upshot/spool`` in the user's state folder (``$XDG_STATE_HOME``, or ``~/.local/state``)."""
    spool_max_bytes: int = 512 * 1024 * 1024
    """What this process may keep there, compressed: some two million events."""
    spool_keep_free_bytes: int = 1024 * 1024 * 1024
    """What must stay free on that disk, but at most a tenth of it; below, events wait in memory."""

    @classmethod
    def read(cls, options: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
        """Put arguments, environment and defaults together. Raises ConfigurationError naming what is wrong."""
        known = {f.name: f for f in fields(cls)}
        if unknown := sorted(set(options) - set(known)):
            raise ConfigurationError(f"unknown option {unknown[0]!r}; known are {', '.join(known)}")
        chosen: dict[str, object] = {}
        for name, spec in known.items():
            if (given := options.get(name)) is not None:
                chosen[name] = _checked(name, name, given, spec.default)
            elif text := environ.get(variable := f"UPSHOT_{name.upper()}", "").strip():
                chosen[name] = _checked(variable, name, text, spec.default)
        settings = cls(**chosen)  # type: ignore[arg-type]  # _checked() gave each the type of its default
        Redaction.read(settings.redact, settings.redact_key)  # says now what is wrong with a rule
        if settings.url.startswith(f"{KafkaAddress.SCHEME}:"):
            from upshot.delivery.transport import open_transport  # it imports this module

            open_transport(settings)  # says now, and to whoever configures, what is missing
        return settings


def _checked(label: str, name: str, value: object, default: object) -> object:
    """Turn one value into the type of its default, or say what is wrong with it."""
    if isinstance(default, bool):
        return _switch(label, value)
    if name == "redact" and isinstance(value, Mapping):
        return value
    if isinstance(default, str):
        if not isinstance(value, str):
            raise ConfigurationError(f"{label} must be text, not {type(value).__name__}")
        check = {
            "url": _url,
            "api_key": _api_key,
            "on_full": _on_full,
            "compression": _compression,
            "spool_dir": _folder,
        }.get(name)
        return check(label, value) if check else value
    try:
        number = float(value) if isinstance(value, (str, int, float)) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ConfigurationError(f"{label} must be a number above 0")
    if name == "sample_rate" and number > 1:
        raise ConfigurationError(f"{label} must be above 0 and at most 1")
    if isinstance(default, float):
        return number
    if number != int(number):
        raise ConfigurationError(f"{label} must be a whole number")
    return int(number)


def _url(label: str, value: str) -> str:
    value = value.strip().rstrip("/")
    if value.startswith(f"{KafkaAddress.SCHEME}:"):
        KafkaAddress.parse(label, value)
        return value
    try:
        parts = urlsplit(value)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        raise ConfigurationError(f"{label} is not an address like http://127.0.0.1:8750") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_valid:
        raise ConfigurationError(f"{label} must be an http://, https:// or kafka:// address")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"{label} must not hold a user or password; use api_key")
    try:
        parts.hostname.encode("idna")  # as the socket will
    except UnicodeError:
        raise ConfigurationError(f"{label}: its host is not a name that can exist") from None
    if parts.query or parts.fragment or not value.isascii() or any(c <= " " for c in value):
        raise ConfigurationError(f"{label} must be a plain address: no query, fragment, space or special characters")
    return value


def _api_key(label: str, value: str) -> str:
    value = value.strip()
    if not all("!" <= c <= "~" for c in value):  # it travels in a header line
        raise ConfigurationError(f"{label} must consist of printable ASCII characters without spaces")
    return value


def _on_full(label: str, value: str) -> str:
    if value not in {"drop", "block", "prune"}:
        raise ConfigurationError(f"{label} must be 'drop', 'block' or 'prune'")
    return value


def _compression(label: str, value: str) -> str:
    if value not in {"zstd", "gzip"}:
        raise ConfigurationError(f"{label} must be 'zstd' or 'gzip'")
    return value


def _switch(label: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    known = {"on": True, "true": True, "1": True, "yes": True, "off": False, "false": False, "0": False, "no": False}
    if isinstance(value, str) and (chosen := known.get(value.strip().lower())) is not None:
        return chosen
    raise ConfigurationError(f"{label} must be on or off")


def _folder(label: str, value: str) -> str:
    path = Path(value).expanduser()
    try:
        if path.exists() and not path.is_dir():
            raise ConfigurationError(f"{label} is a file; it must be a folder, or not exist yet")
    except (OSError, ValueError):
        raise ConfigurationError(f"{label} is not a path of a folder") from None
    return value
