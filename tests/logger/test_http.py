"""The border to HTTP: every way an answer can be wrong becomes one of our errors; TLS is verified."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import upshot
from tests.conftest import require
from tests.logger.collector import Collector
from upshot.capture.plain import encode
from upshot.delivery.batch import Batch
from upshot.delivery.transport.http import HttpTransport
from upshot.errors import TransientError
from upshot.wire import PACKED_CONTENT_TYPE

BATCH = Batch.of("predictions", PACKED_CONTENT_TYPE, [encode({"request_id": "r", "model": "m"})])


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a server that reads a request and answers with these bytes, whatever they are."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(request.param)

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    thread.join()
    listener.close()


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answering",
    [
        b"",
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        OK + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
        OK + b"X: 1\r\n" * 200 + b"\r\n",
        OK + b"Content-Length: 100\r\n\r\n{}",
        OK + b"Content-Length: many\r\n\r\n{}",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        OK + b"Content-Length: 2\r\n\r\n[]",
        OK + b"Content-Length: 2\r\n\r\n\xff\xff",
        OK + b"\r\n" + b"[" * 100_000,
        OK + b'\r\n{"accepted": "1", "duplicates": 0, "rejected": 0}',
        OK + b'\r\n{"accepted": true, "duplicates": 0, "rejected": 0}',
        OK + b'\r\n{"accepted": -1, "duplicates": 1, "rejected": 1}',
        OK + b'\r\n{"accepted": 0, "duplicates": 0, "rejected": 1, "errors": [7]}',
        OK + b'\r\n{"accepted": 0, "duplicates": 0, "rejected": 1, "errors": 7}',
        b"HTTP/1.1 503 No\r\nRetry-After: " + b"9" * 400 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 No\r\nRetry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 No\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n",
    ],
    indirect=True,
    ids=lambda answer: repr(answer[:60]),
)
def test_a_wrong_answer_is_a_passing_failure(answering):
    """Nothing says that the events are stored, so they are sent again; no foreign exception gets through."""
    transport = HttpTransport(f"http://127.0.0.1:{answering}", "")
    with pytest.raises(TransientError):
        transport.send(BATCH, timeout_s=5)
    transport.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid", "http://[::1]:9"])
def test_a_server_that_cannot_be_reached_is_a_passing_failure(url):
    """Refused, unknown, no route."""
    with pytest.raises(TransientError, match="cannot be reached"):
        HttpTransport(url, "").send(BATCH, timeout_s=5)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 with its key, signed by itself."""
    openssl = shutil.which("openssl")
    require("openssl", openssl is not None, "apt-get install openssl")
    path = tmp_path / "server.pem"
    made = tmp_path / "certificate.pem"
    options = f"-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 -keyout {path} -out {made}"
    subprocess.run(
        [str(openssl), "req", "-x509", "-addext", "subjectAltName=IP:127.0.0.1", *options.split()],
        check=True,
        capture_output=True,
    )
    path.write_text(path.read_text() + made.read_text())
    return path


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "not trusted"])
def test_https_is_verified(certificate, trusted):
    """With a certificate it trusts the SDK sends; otherwise not a byte of an event leaves the process."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    collector = Collector(tls=context)
    script = """
import sys, upshot
logger = upshot.Logger(url=sys.argv[1], model="m")
logger.log_prediction({}, 0)
print(logger.flush(2 if sys.argv[2] == "False" else 10), logger.stats()["stored"])
logger.close(0)
"""
    env = {**os.environ, "SSL_CERT_FILE": str(certificate)} if trusted else None
    done = subprocess.run(
        [sys.executable, "-c", script, collector.url, str(trusted)],
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    collector.close()
    assert done.stdout.split() == (["True", "1"] if trusted else ["False", "0"])
    assert len(collector.stored) == int(trusted)


def test_gzip_is_sent_where_it_is_asked_for(collector):
    """One body of all frames; what comes out is what was logged."""
    with upshot.Logger(url=collector.url, model="m", compression="gzip", flush_interval_s=60) as logger:
        for i in range(5):
            logger.log_prediction({"i": i}, 0, request_id=f"r{i}")
            assert logger.flush(5, to="disk")  # a frame each
        logger.log_prediction({"big": 2**70}, 0, request_id="json")
        assert logger.flush(10)
    assert {request.headers["content-encoding"] for request in collector.requests} == {"gzip"}
    assert sorted(event.request_id for event in collector.predictions) == ["json", "r0", "r1", "r2", "r3", "r4"]


def test_a_real_server_reads_gzip(server, fresh):
    """The frames of the packed form become one array."""
    with upshot.Logger(url=server.url, model=fresh, compression="gzip", flush_interval_s=60) as logger:
        ids = []
        for i in range(3):
            ids.append(logger.log_prediction({"i": i}, 0))
            assert logger.flush(5, to="disk")
        assert logger.flush(10)
        assert logger.stats()["stored"] == 3
    for i, request_id in enumerate(ids):
        assert server.story(request_id)["predictions"][0]["features"] == {"i": i}
