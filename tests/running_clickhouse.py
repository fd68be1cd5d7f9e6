"""A real ClickHouse server: the whole of it is in chDB's library, which npm brings; it runs in a process of its own.

``UPSHOT_TEST_CLICKHOUSE_URL`` names a server to use instead; what only an own server can be asked (to be killed, to be one of
several) is then done with one started here all the same, or skipped. Everything listens on the loopback interface.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from xml.sax.saxutils import escape

import httpx

from tests.conftest import require
from tests.ports import free_ports
from tests.waiting import eventually

START_TIMEOUT_S = 60

_PACKAGE = Path(__file__).parent / "clickhouse"
_LIBRARY = "node_modules/@chdb/lib-linux-x64-gnu/libchdb.so"
_WAIT = (
    "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; SELECT sleepEachRow(1) FROM numbers(86400) "
    "SETTINGS function_sleep_max_microseconds_per_block = 0, max_block_size = 1 FORMAT Null"
)
_RUN = """
import ctypes, sys
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG: it ends with the tests, however those end
arguments = [argument.encode() for argument in sys.argv[2:]]
run = ctypes.CDLL(sys.argv[1]).query_stable_v2
run.restype = ctypes.c_void_p
run(ctypes.c_int(len(arguments)), (ctypes.c_char_p * len(arguments))(*arguments))
"""


def server_given() -> str | None:
    """The address in ``UPSHOT_TEST_CLICKHOUSE_URL``."""
    return os.environ.get("UPSHOT_TEST_CLICKHOUSE_URL") or None


def require_clickhouse() -> None:
    """Skip, or fail where every part is required, when no server can be started here."""
    how = "apt-get install npm (x86-64 with glibc), or set UPSHOT_TEST_CLICKHOUSE_URL=http://HOST:PORT"
    require("npm", shutil.which("npm") is not None or (_cache() / _LIBRARY).exists(), how)


class RunningClickHouse:
    """One server; it can be killed, stopped and started again on the same folder and ports.

    ``settings`` are XML elements of its configuration, as text; they may be changed before a start.
    """

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.folder = folder
        self.port, self.tcp_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        library = fetched()
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "config.xml"
        config.write_text(f"<clickhouse>{self.settings}</clickhouse>")
        arguments = [
            "clickhouse-local",
            f"--path={self.folder / 'data'}",
            f"--http_port={self.port}",
            f"--tcp_port={self.tcp_port}",
            "--listen_host=127.0.0.1",
            f"--config-file={config}",
            "--query",
            _WAIT,
        ]
        with (self.folder / "server.log").open("ab") as log:
            # In a session of its own and without standard input: the library ends when its terminal does.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _RUN, str(library), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self._serves, START_TIMEOUT_S)

    def stop(self) -> None:
        """End it. The library has no shutdown of its own: what it acknowledged has to be safe at any moment anyway."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """kill -9, and start again."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: its sockets accept and never answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return (self.folder / "server.log").read_text(errors="replace")

    def _serves(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the server ended with status {self._process.returncode}: {self.log[-3000:]}")
        # Nothing else may be sent before: a malformed request ends this library's HTTP listener.
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/ping", timeout=2).is_success
        return False


def cluster_of(servers: list[RunningClickHouse], name: str = "upshot") -> str:
    """The configuration that makes a cluster of these servers, a shard each; for the ``settings`` of all of them."""
    shards = "".join(
        f"<shard><internal_replication>true</internal_replication>"
        f"<replica><host>127.0.0.1</host><port>{server.tcp_port}</port></replica></shard>"
        for server in servers
    )
    return f"<remote_servers><{escape(name)}>{shards}</{escape(name)}></remote_servers>"


def fetched() -> Path:
    """The library (about 500 MB), brought by npm at the first call on a machine; the rest of the processes wait."""
    library = _cache() / _LIBRARY
    if library.exists():
        return library
    _cache().mkdir(parents=True, exist_ok=True)
    with (_cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            for file in ("package.json", "package-lock.json"):
                shutil.copy(_PACKAGE / file, _cache() / file)
            asked = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            subprocess.run(asked, cwd=_cache(), check=True, capture_output=True, timeout=900)
    return library


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256((_PACKAGE / "package-lock.json").read_bytes()).hexdigest()
    return Path(home) / f"upshot-tests/clickhouse-{digest[:12]}"
