"""The judge of conservation, for every test that does something bad to a server."""

from __future__ import annotations

from typing import Any

from tests.running import RunningServer
from tests.waiting import eventually


def assert_books_balance(server: RunningServer) -> dict[str, Any]:
    """Once nothing is on its way: what came in is accounted for, and what is stored fits together, exactly. Returns the books."""

    def balance() -> dict[str, Any]:
        answer = server.http.get("/v1/books", timeout=120)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        assert told["requests_to_join"] == 0
        assert told["differences"] == []
        assert told["balances"]
        return told

    return eventually(balance, 60)
