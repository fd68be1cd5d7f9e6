"""One keep-alive HTTP client for the demo, that tries again when a server is busy or not there yet."""

from __future__ import annotations

import time
from typing import Any

import httpx

from upshot_server.demo.processes import Child, DemoError

REQUEST_TIMEOUT_S = 60.0
RETRY_FOR_S = 30.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
BUSY = (429, 503)


class JsonClient:
    """JSON requests to one of the demo's children. Safe to use from several threads.

    Everything sent may be sent twice: label events carry IDs, and a board that was scored twice is two sets of
    requests.
    """

    def __init__(self, url: str, child: Child) -> None:
        self._http = httpx.Client(base_url=url, timeout=REQUEST_TIMEOUT_S, trust_env=False)
        self._child = child

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, **params: str) -> Any:
        """The answer to ``GET path``."""
        return self.request("GET", path, params=params)

    def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        content: bytes | None = None,
        content_type: str | None = None,
        params: dict[str, str] | None = None,
        retry_for_s: float = RETRY_FOR_S,
    ) -> Any:
        """The decoded answer. Raises :class:`DemoError` for any refusal, and when the server stays busy or away."""
        headers = {"content-type": content_type} if content_type else None
        deadline = time.monotonic() + retry_for_s
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                answer = self._http.request(method, path, json=json, content=content, headers=headers, params=params)
                trouble = f"{answer.status_code} {answer.text[:500]}"
                if answer.is_success:
                    return answer.json()
                if answer.status_code not in BUSY:
                    raise DemoError(f"{method} {path} at the {self._child.name}: {trouble}")
            except httpx.TransportError as error:
                trouble = f"{type(error).__name__}: {error}"
            self._child.check()
            if time.monotonic() > deadline:
                raise DemoError(f"{method} {path} at the {self._child.name}, for {retry_for_s:.0f} s: {trouble}")
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
