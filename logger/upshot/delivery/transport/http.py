"""HTTP: one keep-alive connection of the standard library's client, the cheapest per request that Python has."""

from __future__ import annotations

import contextlib
import email.utils
import encodings.idna  # noqa: F401  # socket imports it at its first connect, in our thread: see transport/__init__.py
import gzip
import http.client
import ssl
import time
from collections import Counter
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from upshot._version import __version__
from upshot.delivery.batch import Batch
from upshot.delivery.transport.contract import Receipt
from upshot.errors import InvalidBatchError, PayloadTooLargeError, PermanentError, TransientError
from upshot.wire import ARROW_CONTENT_TYPE

__all__ = ["HttpTransport"]

_MAX_ANSWER_BYTES = 4 * 1024 * 1024
_GZIP_LEVEL = 1  # the usual 6 takes four times the time for an eighth less
_PASSING = frozenset({408, 425, 429})  # besides 5xx
_ABOUT_THE_BATCH = frozenset({400, 415})

_Count = Annotated[int, msgspec.Meta(ge=0)]


class HttpTransport:
    """Posts batches to ``{url}/v1/predictions`` and ``{url}/v1/labels``.

    ``compression``: ``zstd`` sends a batch as it lies in the spool. ``gzip`` unpacks and packs it again for whoever on the way
    must read it; Arrow streams remain zstd.
    """

    def __init__(self, url: str, api_key: str, compression: str = "zstd") -> None:
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._headers = {"User-Agent": f"upshot-python/{__version__}"}
        self._is_gzip = compression == "gzip"
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._connection: http.client.HTTPConnection | None = None

    def send(self, batch: Batch, *, timeout_s: float) -> Receipt:
        """Post the batch; see ``Transport.send``."""
        status, headers, body = self._post(batch, timeout_s)
        if status in (200, 422):
            return _receipt(status, body, batch.n_events)
        message = f"the server answered {status} to {batch.kind}"
        if status == 413:
            raise PayloadTooLargeError(message)
        if status >= 500 or status in _PASSING:
            raise TransientError(message, retry_after_s=_retry_after_s(headers.get("Retry-After")))
        if status in _ABOUT_THE_BATCH:
            raise InvalidBatchError(message, reason=f"http_{status}")
        raise PermanentError(message, reason=f"http_{status}")

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, batch: Batch, timeout_s: float) -> tuple[int, http.client.HTTPMessage, bytes]:
        is_reused = self._connection is not None
        try:
            return self._exchange(batch, timeout_s)
        except TimeoutError as error:
            self.close()
            raise TransientError(f"the server did not answer within {timeout_s:.1f} s") from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if is_reused:  # the server closed an idle connection: that says nothing about the server
                return self._post(batch, timeout_s)
            raise TransientError(f"the server cannot be reached: {type(error).__name__}") from error

    def _exchange(self, batch: Batch, timeout_s: float) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = self._connection
        if connection is None:
            connection = (
                http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
                if self._tls is None
                else http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._tls)
            )
            connection.connect()
            self._connection = connection
        elif connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        encoding, body = batch.content_encoding, batch.payload
        if self._is_gzip and batch.content_type != ARROW_CONTENT_TYPE:
            encoding, body = "gzip", gzip.compress(batch.as_one_body(), _GZIP_LEVEL)
        headers = {**self._headers, "Content-Type": batch.content_type, "Content-Encoding": encoding}
        # A server that refuses early (413, 401) may close while we still write; its answer is there all the same.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", f"{self._path}/v1/{batch.kind}", body, headers)
        response = connection.getresponse()
        answer = response.read(_MAX_ANSWER_BYTES)
        if response.will_close or not response.isclosed():
            self.close()
        return response.status, response.headers, answer


class _Error(msgspec.Struct):
    index: int | None = None
    code: str = "other"


class _Answer(msgspec.Struct):
    accepted: _Count
    duplicates: _Count
    rejected: _Count
    errors: list[_Error] = []
    converted: _Count = 0


def _receipt(status: int, body: bytes, n_events: int) -> Receipt:
    """Read the server's answer: how many events it stored, had, and refused, and why."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, ValueError, RecursionError):
        if status == 422:  # refused as a whole by something that says no more
            return Receipt(stored=0, rejected=Counter(unprocessable=n_events))
        raise TransientError("the answer is not that of an Upshot server") from None
    if answer.accepted + answer.duplicates + answer.rejected > n_events:
        if status == 422:
            return Receipt(stored=0, rejected=Counter(unprocessable=n_events))
        raise TransientError("the answer counts more events than were sent")
    n_refused = n_events - answer.accepted - answer.duplicates
    codes = Counter({error.index: error.code[:64] for error in reversed(answer.errors)}.values())
    # The list of errors may be cut short: the counts decide, the codes explain.
    rejected: Counter[str] = Counter()
    for code, n in codes.most_common():
        rejected[code] = min(n, n_refused - rejected.total())
    if rest := n_refused - rejected.total():
        rejected["other"] += rest
    return Receipt(answer.accepted, answer.duplicates, +rejected, answer.converted)


def _retry_after_s(header: str | None) -> float | None:
    """Seconds, or the seconds until a date (RFC 9110, section 10.2.3)."""
    if not header:
        return None
    with contextlib.suppress(ValueError, OverflowError):
        return max(0.0, float(int(header)))
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    return None
