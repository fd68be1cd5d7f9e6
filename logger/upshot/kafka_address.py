"""``kafka://`` addresses: which brokers, and how to log in to them.

::

    kafka://broker-1:9092,broker-2:9092
    kafka://broker-1:9093?security_protocol=SASL_SSL&sasl_mechanism=SCRAM-SHA-512&sasl_plain_username=models

The options after ``?`` have kafka-python's names and meaning. The password is no part of the address: it is ``api_key``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from upshot.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl

__all__ = ["KafkaAddress"]

_DEFAULT_PORT = 9092


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """One cluster, and how to log in to it."""

    SCHEME: ClassVar[str] = "kafka"
    PROTOCOLS: ClassVar[tuple[str, ...]] = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
    MECHANISMS: ClassVar[tuple[str, ...]] = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

    servers: tuple[str, ...]
    """``host:port`` of those brokers that are asked first for all the others."""
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = ""
    sasl_plain_username: str = ""
    ssl_cafile: str = ""
    """A PEM file of who is trusted to sign the brokers' certificates; empty: whom the system trusts."""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    ssl_check_hostname: bool = True

    @property
    def has_login(self) -> bool:
        """Whether a user and a password are asked for."""
        return self.security_protocol.startswith("SASL_")

    @property
    def has_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol.endswith("SSL")

    @classmethod
    def parse(cls, label: str, url: str) -> KafkaAddress:
        """Read an address. Raises ConfigurationError, which names ``label`` and what is wrong with it."""
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ConfigurationError(f"{label} is not an address like kafka://broker:9092") from None
        if "@" in parts.netloc:
            raise ConfigurationError(
                f"{label} must not hold a user or password; use ?sasl_plain_username=... and the setting api_key"
            )
        if parts.path not in {"", "/"} or parts.fragment or not url.isascii() or any(c <= " " for c in url):
            raise ConfigurationError(f"{label} must be like kafka://broker:9092,broker:9092?option=value")
        servers = tuple(_server(label, server) for server in parts.netloc.split(","))
        return _agreeing(label, cls(servers, **_options(label, parts.query)))  # type: ignore[arg-type]  # as checked

    def options(self, password: str) -> dict[str, Any]:
        """This address and a password as options of kafka-python's clients.

        Raises ConfigurationError when they do not go together, or when a file that the address names cannot be used.
        """
        if self.has_login != bool(password):
            raise ConfigurationError(
                f"url: {self.security_protocol} needs the password as api_key"
                if self.has_login
                else "api_key is a password, which needs security_protocol=SASL_SSL (or SASL_PLAINTEXT) in url"
            )
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.servers),
            "security_protocol": self.security_protocol,
        }
        if self.has_login:
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_plain_username
            options["sasl_plain_password"] = password
        if self.has_tls:
            options["ssl_context"] = _tls(self)
        return options


def _server(label: str, server: str) -> str:
    try:
        parts = urlsplit(f"//{server}")
        host, port = parts.hostname or "", parts.port
        host.encode("idna")  # as the socket will
    except ValueError:  # UnicodeError is one
        host, port = "", None
    if not host or port == 0:
        raise ConfigurationError(f"{label} must name its brokers as host:port, separated by commas")
    return f"[{host}]:{port or _DEFAULT_PORT}" if ":" in host else f"{host}:{port or _DEFAULT_PORT}"


def _options(label: str, query: str) -> dict[str, str | bool]:
    known = [option.name for option in fields(KafkaAddress) if option.name != "servers"]
    chosen: dict[str, str | bool] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in {"sasl_plain_password", "ssl_password"}:
            raise ConfigurationError(f"{label} must not hold a password; the one for SASL is the setting api_key")
        if name not in known:
            raise ConfigurationError(f"{label} has the unknown option {name!r}; known are {', '.join(known)}")
        if name in chosen:
            raise ConfigurationError(f"{label} has the option {name} twice")
        chosen[name] = _switch(label, name, value) if name == "ssl_check_hostname" else value
    return chosen


def _switch(label: str, name: str, value: str) -> bool:
    if value.lower() not in {"true", "false"}:
        raise ConfigurationError(f"{label}: {name} must be true or false")
    return value.lower() == "true"


def _agreeing(label: str, address: KafkaAddress) -> KafkaAddress:
    """The same address, when its options go together."""
    if address.security_protocol not in KafkaAddress.PROTOCOLS:
        raise ConfigurationError(f"{label}: security_protocol must be one of {', '.join(KafkaAddress.PROTOCOLS)}")
    if address.has_login:
        if address.sasl_mechanism not in KafkaAddress.MECHANISMS:
            raise ConfigurationError(f"{label}: sasl_mechanism must be one of {', '.join(KafkaAddress.MECHANISMS)}")
        if not address.sasl_plain_username:
            raise ConfigurationError(f"{label}: {address.security_protocol} needs sasl_plain_username")
    elif address.sasl_mechanism or address.sasl_plain_username:
        raise ConfigurationError(f"{label}: SASL options need security_protocol=SASL_SSL (or SASL_PLAINTEXT)")
    has_tls_options = (
        address.ssl_cafile or address.ssl_certfile or address.ssl_keyfile or not address.ssl_check_hostname
    )
    if has_tls_options and not address.has_tls:
        raise ConfigurationError(f"{label}: TLS options need security_protocol=SASL_SSL (or SSL)")
    return address


def _tls(address: KafkaAddress) -> ssl.SSLContext:
    """Made once, while somebody is there to be told that a file is missing."""
    import ssl  # takes a while: only where it is needed

    try:
        context = ssl.create_default_context(cafile=address.ssl_cafile or None)
        context.check_hostname = address.ssl_check_hostname
        if address.ssl_certfile:
            context.load_cert_chain(address.ssl_certfile, address.ssl_keyfile or None, _no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(f"url: ssl_cafile, ssl_certfile or ssl_keyfile cannot be used: {why}") from None
    return context


def _no_password() -> str:
    """In place of OpenSSL's own question on the terminal."""
    raise ValueError("a key with a password")
