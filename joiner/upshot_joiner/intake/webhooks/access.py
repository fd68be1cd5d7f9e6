"""Who may send labels: whoever signs, or has a key that is for labels alone."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets as random
import threading
from collections.abc import Sequence
from pathlib import Path

from upshot_joiner.clock import Clock
from upshot_joiner.errors import Problem
from upshot_joiner.intake.webhooks import standard
from upshot_joiner.intake.webhooks.standard import Headers

_log = logging.getLogger("upshot.intake")

KEY_PREFIX = "upshot_label_"
_KEY_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_BEARER = re.compile(r"[Bb]earer ([\x21-\x7e]{1,512})")


class LabelAccess:
    """Decides about each request to ``POST /v1/labels``. May be used from any thread.

    ``secrets`` are ``whsec_`` texts; ``secrets_file`` holds one of them a line and is read again whenever it changes;
    ``key_hashes`` are what :func:`hash_of` makes of keys. With ``required``, a request with neither signature nor key is refused.
    Raises a 422 :class:`Problem` for a malformed secret or hash, and for a file that cannot be read.
    """

    def __init__(
        self,
        clock: Clock,
        secrets: Sequence[str] = (),
        secrets_file: Path | None = None,
        key_hashes: Sequence[str] = (),
        required: bool = False,
    ) -> None:
        self._clock = clock
        try:
            self._secrets = [standard.read_secret(one) for one in secrets]
            self._file = _SecretsFile(secrets_file) if secrets_file is not None else None
            if self._file is not None:
                self._file.read()
        except (OSError, ValueError) as error:
            raise _invalid(
                f"The secrets for labels cannot be read: each is `whsec_` and base64 ({type(error).__name__})."
            ) from None
        if not all(map(_KEY_HASH.fullmatch, key_hashes)):
            raise _invalid("A key for labels is configured as `sha256:` and 64 hexadecimal digits.")
        self._keys = [one.encode("ascii") for one in key_hashes]
        self._required = required
        if required and not (self._secrets or self._file or self._keys):
            raise _invalid("Labels need a signature or a key, but no secret and no key is configured.")

    def admit(self, headers: Headers) -> bool:
        """Before the body is read: whether it has to be verified. Raises a 401 :class:`Problem` when the headers do not do."""
        if standard.is_signed(headers) and (self._secrets or self._file):
            return True
        if self._keys:
            given = _key(headers)
            if given is not None and not self._knows(given):
                raise unauthorized()
            if given is not None:
                return False
        if self._required:
            raise unauthorized()
        return False

    def verify(self, headers: Headers, body: bytes) -> str:
        """The ID of a signed delivery. Raises a :class:`Problem`: 401 for every fault, 503 when the secrets cannot be read."""
        secrets = [*self._secrets, *(self._file.secrets() if self._file else ())]
        id_ = standard.verified_id(secrets, headers, body, self._clock.now())
        if id_ is None:
            raise wrong_signature()
        return id_

    def _knows(self, key: str) -> bool:
        digest = hash_of(key).encode("ascii")
        found = False
        for one in self._keys:
            found |= hmac.compare_digest(digest, one)
        return found


def new_key() -> str:
    """A key made now. Only its hash is ever kept."""
    return KEY_PREFIX + random.token_urlsafe(32)


def hash_of(key: str) -> str:
    """How a key is configured. A key has 256 random bits, so its hash needs neither salt nor time."""
    return f"sha256:{hashlib.sha256(key.encode('latin-1', 'replace')).hexdigest()}"


def wrong_signature() -> Problem:
    """The one answer to every fault of a signature."""
    return Problem(
        401, "signature", "The request is not signed as it has to be.", [{"loc": "header", "code": "signature"}]
    )


def unauthorized() -> Problem:
    """The answer to a request without a signature, and without a key or with a wrong one."""
    return Problem(401, "unauthorized", "Labels need a signature or a key here.", [{"loc": "header", "code": "key"}])


def _invalid(title: str) -> Problem:
    return Problem(422, "invalid_config", title)


def _key(headers: Headers) -> str | None:
    """The key of a request; None without one. What is no key, or two of them, is a key that nobody knows."""
    values = [*headers.get("authorization", ()), *headers.get("x-api-key", ())]
    if not values:
        return None
    if len(values) > 1:
        return ""
    if not headers.get("authorization"):
        return values[0]
    match = _BEARER.fullmatch(values[0])
    return match[1] if match else ""


class _SecretsFile:
    """Secrets, one a line (empty lines and lines with ``#`` aside), as they are in the file now.

    A file that cannot be read, or with anything else in it, makes no secret valid: whoever took a secret out of it must not find
    it in force because of a slip in another line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._secrets: list[bytes] = []

    def secrets(self) -> list[bytes]:
        """Raises a 503 :class:`Problem` when they cannot be had; senders will come again."""
        with self._lock:
            try:
                self.read()
            except (OSError, ValueError) as error:
                self._seen = None
                _log.error("the secrets for labels cannot be read (%s)", type(error).__name__)  # no values in logs
                raise Problem(
                    503, "secrets_unavailable", "Signatures cannot be checked now; try again.", retry_after_s=30
                ) from None
            return self._secrets

    def read(self) -> None:
        """Read the file if it is not the one that was read last. Raises OSError and ValueError."""
        stat = self._path.stat()
        seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if seen == self._seen:
            return
        lines = (line.strip() for line in self._path.read_text("utf-8").splitlines())
        self._secrets = [standard.read_secret(line) for line in lines if line and not line.startswith("#")]
        self._seen = seen
        _log.info("%d secrets for labels are in force", len(self._secrets))
