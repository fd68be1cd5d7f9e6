"""The watermark of a named pull, which the server keeps: ``GET`` and ``PUT /v1/pulls/{name}``."""

from __future__ import annotations

from urllib.parse import quote

import httpx

from upshot_server.client import ServerRefused
from upshot_server.labels.errors import NotNow
from upshot_server.labels.pull.watermark import Mark, decode, encode

_TIMEOUT_S = 60.0


class Notes:
    """Reads and writes the note of one pull."""

    def __init__(self, url: str, api_key: str, name: str) -> None:
        self._url = url
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(_TIMEOUT_S, connect=5), headers=headers)
        self._path = f"/v1/pulls/{quote(name, safe='')}"

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def read(self) -> Mark | None:
        """The watermark; None when this pull has not noted one. Raises NotNow and ServerRefused."""
        response = self._request("GET", None)
        if response.status_code == 404:
            return None
        try:
            return decode(response.raise_for_status().json()["watermark"])
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
            raise ServerRefused(f"the server answered {response.status_code} to GET /v1/pulls") from error

    def write(self, mark: Mark) -> None:
        """Note a watermark. Raises NotNow and ServerRefused."""
        response = self._request("PUT", {"watermark": encode(mark)})
        if response.is_error:
            raise ServerRefused(f"the server answered {response.status_code} to PUT /v1/pulls")

    def _request(self, method: str, content: object) -> httpx.Response:
        try:
            response = self._http.request(method, self._path, json=content)
        except httpx.TransportError as error:
            raise NotNow(f"no server answers at {self._url} (start one with `upshot up`)") from error
        if response.status_code in (429, 502, 503, 504):
            raise NotNow(f"the server at {self._url} answers {response.status_code}")
        return response
