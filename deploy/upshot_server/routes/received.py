"""Bodies that are too large for memory: written to a file as they come."""

from __future__ import annotations

from pathlib import Path

from anyio import open_file
from fastapi import Request

from upshot_joiner.errors import Problem


async def receive(request: Request, file: Path, max_bytes: int) -> None:
    """Write the body to a file; a 413 :class:`Problem` as soon as it is larger than allowed, a 415 one when it is encoded."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Problem(415, "unsupported_encoding", "Send this body as it is, without Content-Encoding.")
    size = 0
    async with await open_file(file, "wb") as out:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                raise Problem(413, "too_large", f"This body has at most {max_bytes // 1024**2} MB.")
            await out.write(chunk)
