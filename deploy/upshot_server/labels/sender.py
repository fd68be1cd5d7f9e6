"""Batches to the server: ``POST /v1/labels`` in the packed form, sent again until it is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import httpx
import zstandard

from upshot import __version__
from upshot.wire import PACKED_CONTENT_TYPE, pack
from upshot_server.client import ServerRefused
from upshot_server.labels.errors import NotNow

_BUSY = (429, 502, 503, 504)
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 15.0
_LONGEST_RETRY_AFTER_S = 60.0
_REQUEST_TIMEOUT_S = 120.0


@dataclass
class Answered:
    """What became of a batch; ``errors`` are index, code and place."""

    accepted: int = 0
    duplicates: int = 0
    errors: list[tuple[int, str, str]] = field(default_factory=list)


class LabelSender:
    """Sends one batch after the other. A batch whose answer was lost is sent again; the server tells its events from new ones.

    ``patience_s``: for how long a server that is busy or away is asked again. Raises :class:`NotNow` then, and
    :class:`ServerRefused` for an answer that no repetition will change.
    """

    def __init__(
        self,
        url: str,
        api_key: str = "",
        *,
        patience_s: float = 300.0,
        stopped: threading.Event | None = None,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._url = url
        headers = {"User-Agent": f"upshot-labels/{__version__}"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(_REQUEST_TIMEOUT_S, connect=5), headers=headers)
        self._patience_s = patience_s
        self._stopped = stopped or threading.Event()
        self._sleep = sleep or self._stopped.wait
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._was_answered = False

    def __enter__(self) -> LabelSender:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def stop(self) -> None:
        """Do not try again: a batch that is not answered yet raises :class:`NotNow`."""
        self._stopped.set()

    def send(self, events: Sequence[bytes]) -> Answered:
        """Send events (MessagePack each) and wait until they are stored, known already, or refused one by one."""
        if not events:
            return Answered()
        response = self._answer(self._compressor.compress(pack(events)))
        if response.status_code == 413 and len(events) > 1:
            half = len(events) // 2
            first, second = self.send(events[:half]), self.send(events[half:])
            errors = first.errors + [(half + index, code, loc) for index, code, loc in second.errors]
            return Answered(first.accepted + second.accepted, first.duplicates + second.duplicates, errors)
        answered = _read(response)
        if answered is None:
            raise ServerRefused(_sentence(response))
        if answered.accepted + answered.duplicates + len(answered.errors) != len(events):
            raise ServerRefused("the server's answer does not account for every event of the request")
        return answered

    def _answer(self, body: bytes) -> httpx.Response:
        """The first answer that is not "later"."""
        headers = {"Content-Type": PACKED_CONTENT_TYPE, "Content-Encoding": "zstd"}
        deadline = time.monotonic() + self._patience_s
        pause_s = _FIRST_PAUSE_S
        while True:
            wait_s = pause_s
            try:
                response = self._http.post("/v1/labels", content=body, headers=headers)
            except httpx.TransportError as error:
                if not self._was_answered:
                    raise NotNow(f"no server answers at {self._url} (start one with `upshot up`)") from error
                trouble = "does not answer"
            except httpx.InvalidURL as error:
                raise ServerRefused(f"{self._url} is no URL") from error
            else:
                self._was_answered = True
                if response.status_code not in _BUSY:
                    return response
                trouble = f"answers {response.status_code}"
                wait_s = max(pause_s, _retry_after_s(response))
            if self._stopped.is_set():
                raise NotNow("stopped before the last batch was answered")
            if time.monotonic() + wait_s > deadline:
                raise NotNow(f"the server at {self._url} {trouble}, for {self._patience_s:.0f} s now")
            self._sleep(wait_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _read(response: httpx.Response) -> Answered | None:
    """The counts of an answer; None when it is another kind of answer."""
    if response.status_code not in (200, 422):
        return None
    try:
        content = response.json()
        errors = [(int(one["index"]), str(one["code"]), str(one.get("loc", ""))) for one in content["errors"]]
        return Answered(int(content["accepted"]), int(content["duplicates"]), errors)
    except (ValueError, KeyError, TypeError):
        return None


def _retry_after_s(response: httpx.Response) -> float:
    given = response.headers.get("Retry-After", "")
    return min(float(given), _LONGEST_RETRY_AFTER_S) if given.isdecimal() else 0.0


def _sentence(response: httpx.Response) -> str:
    try:
        return f"the server answered {response.status_code}: {response.json()['title']}"
    except (ValueError, KeyError, TypeError):
        return f"the server answered {response.status_code}"
