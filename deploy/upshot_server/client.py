"""How the command line talks to a running server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from upshot.errors import UpshotError


class ServerRefused(UpshotError):
    """The server cannot be reached, or answered with an error."""


class ServerClient:
    """A few JSON calls; errors are sentences for a person."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(600, connect=5))

    def __enter__(self) -> ServerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str) -> dict[str, Any]:
        """GET a JSON document."""
        return self._answer("GET", path)

    def post(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """POST a JSON document, get one back."""
        return self._answer("POST", path, json=dict(content))

    def upload(
        self,
        path: str,
        file: Path,
        params: Mapping[str, Any],
        media_type: str = "application/vnd.apache.parquet",
    ) -> dict[str, Any]:
        """POST a file as the body; parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        with file.open("rb") as body:
            return self._answer(
                "POST",
                path,
                content=body,
                params=given,
                headers={"Content-Type": media_type},
            )

    def _answer(self, method: str, path: str, **kwargs: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, quote(path), **kwargs)
        except httpx.HTTPError as error:
            raise ServerRefused(f"no server answers at {self._url} (start one with `upshot up`)") from error
        if response.is_error:
            raise ServerRefused(_sentence(response))
        answer: dict[str, Any] = response.json()
        return answer


def _sentence(response: httpx.Response) -> str:
    try:
        problem = response.json()
        places = ", ".join(
            f"{place.get('loc', '')}: {place.get('code', '')}" for place in problem.get("errors", [])[:5]
        )
        return f"{problem['title']}{' (' + places + ')' if places else ''}"
    except (ValueError, KeyError, TypeError):
        return f"the server answered {response.status_code}"
