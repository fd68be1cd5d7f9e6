"""The files a dashboard page loads: our modules and style, and plotly.js out of the `plotly` wheel.

All of them are read once and kept in memory with a compressed twin. Their address holds a digest of the content, so
a browser may keep them for ever and still gets the new ones after an upgrade.
"""

import gzip
import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

STATIC_DIR = Path(__file__).parent / "static"
PLOTLY = "plotly.min.js"

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """One file as it is sent: `body` as it is, `gzipped` for those who take it."""

    body: bytes
    gzipped: bytes
    media_type: str
    etag: str


def plotly_path() -> Path:
    """Where the `plotly` package keeps plotly.js, found without importing the package (which takes half a second)."""
    spec = importlib.util.find_spec("plotly")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the dashboard's charts need the package plotly: pip install 'upshot[server]'")
    return Path(spec.origin).parent / "package_data" / PLOTLY


@cache
def _own_files() -> dict[str, Path]:
    """Every file that may be asked for, by its name below `static/`: an allow-list, so no path can lead elsewhere."""
    return dict(sorted((path.relative_to(STATIC_DIR).as_posix(), path) for path in _walk(STATIC_DIR)))


def _walk(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix in MEDIA_TYPES)


@cache
def digest() -> str:
    """Twelve hex digits that change whenever one of our own files does."""
    seen = hashlib.sha256()
    for name, path in _own_files().items():
        seen.update(name.encode())
        seen.update(path.read_bytes())
    return seen.hexdigest()[:12]


@cache
def _plotly_digest() -> str:
    return hashlib.sha256(plotly_path().read_bytes()).hexdigest()[:12]


def address(name: str) -> str:
    """The address of a file, digest included, as it stands in a page."""
    return f"/static/{_plotly_digest() if name == PLOTLY else digest()}/{name}"


def modules() -> tuple[str, ...]:
    """The addresses of all our modules, so that a page can ask for them at once instead of one import at a time."""
    return tuple(address(name) for name in _own_files() if name.endswith(".js"))


@cache
def _load(name: str) -> Asset | None:
    path = plotly_path() if name == PLOTLY else _own_files().get(name)
    if path is None:
        return None
    body = path.read_bytes()
    return Asset(
        body=body,
        gzipped=gzip.compress(body, 6, mtime=0),
        media_type=MEDIA_TYPES[path.suffix],
        etag=f'"{hashlib.sha256(body).hexdigest()[:16]}"',
    )


def find(path: str) -> tuple[Asset, bool] | None:
    """The file at `DIGEST/NAME` (or plain `NAME`) and whether that address may be kept for ever; None if there is none.

    An old digest, from a page opened before an upgrade, still gets the file of that name, but not to keep.
    """
    name = path if path in _own_files() else path.partition("/")[2] or path
    # Only known names reach the cache, so that made-up addresses cannot fill the memory.
    if name != PLOTLY and name not in _own_files():
        return None
    for_ever = f"/static/{path}" == address(name)
    asset = _load(name)
    return None if asset is None else (asset, for_ever)
