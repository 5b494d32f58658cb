"""Where the program listens: TLS, unix sockets, several addresses."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.raw import Wire
from tusserver.compose.tls import build_tls
from tusserver.config import Settings
from tusserver.process.listening import Address, listen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.process.program import Program

    Start = Callable[..., Program]

both = pytest.mark.parametrize("workers", [1, 2], ids=["alone", "two workers"])


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl found; remedy: apt-get install openssl")
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    files = ["-nodes", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    return certificate, key


def say(program: Program, context: ssl.SSLContext) -> dict[str, object]:
    """Ask over TLS; give the certificate that the server showed."""
    with (
        socket.create_connection(("127.0.0.1", program.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        wrapped.sendall(b"OPTIONS /files/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wrapped.recv(4096).startswith(b"HTTP/1.1 20")
        return wrapped.getpeercert()


@both
def test_tls_is_served_and_a_restart_takes_a_new_certificate(
    start: Start, tmp_path: Path, workers: int
):
    certificate, key = make_certificate(tmp_path, "first")
    context = ssl.create_default_context(cafile=str(certificate))
    words = f"--tls-certificate={certificate}", f"--tls-key={key}"
    program = start(f"--workers={workers}", *words).ready()
    assert program.said("listens on https://127.0.0.1:"), program.log
    assert program.said("curl -i --insecure "), program.log
    assert say(program, context)["subject"] == ((("commonName", "first"),),)
    # Who speaks plain HTTP, or nothing at all, harms nobody.
    with socket.create_connection(("127.0.0.1", program.port), timeout=5) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP")
    other, other_key = make_certificate(tmp_path, "second")
    other.replace(certificate)
    other_key.replace(key)
    program.process.send_signal(signal.SIGHUP)
    program.ready(times=2)
    context.load_verify_locations(cafile=str(certificate))
    assert say(program, context)["subject"] == ((("commonName", "second"),),)
    assert "Traceback" not in program.log


def test_nothing_older_than_tls_1_2_is_spoken(tmp_path: Path):
    certificate, key = make_certificate(tmp_path, "first")
    made = build_tls(Settings(tls_certificate=certificate, tls_key=key))
    assert made.minimum_version is ssl.TLSVersion.TLSv1_2


def test_certificates_that_cannot_be_used_are_told_in_one_line(start: Start, tmp_path: Path):
    certificate, key = make_certificate(tmp_path, "first")
    other, _ = make_certificate(tmp_path, "second")
    text = tmp_path / "text"
    text.write_text("no certificate")
    cases = [
        (other, key, f"--tls-key={key}: is not the key of {other}"),
        (text, key, f"--tls-certificate={text}: holds no certificate in PEM"),
        (certificate, text, f"--tls-key={text}: holds no private key in PEM"),
        (tmp_path / "no", key, f"--tls-certificate={tmp_path / 'no'}: cannot be read: No such"),
    ]
    for given, with_key, line in cases:
        program = start(f"--tls-certificate={given}", f"--tls-key={with_key}")
        assert program.process.wait(15) == 2
        assert program.said(f"tusserver: {line}"), program.log
        assert program.log.count("\n") == 1


@both
def test_a_unix_socket_is_made_served_and_removed(start: Start, upload_dir: Path, workers: int):
    path = upload_dir / "http"
    # What a killed server left is no obstacle.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
        dead.listen()
    words = f"--workers={workers}", f"--unix-socket={path}", "--unix-socket-mode=600"
    program = start(*words).ready()
    assert program.said(f"listens on unix:{path} (path /files/)"), program.log
    assert program.said(f"--unix-socket '{path}'"), program.log
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    wire = object.__new__(Wire)
    wire._buffer, wire._timeout = b"", 5.0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire.socket:
        wire.socket.connect(str(path))
        wire.send(b"OPTIONS /files/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.response("OPTIONS").get("Tus-Version") == "1.0.0"
    taken = start(*words)
    assert taken.process.wait(15) == 2
    assert f"tusserver: --unix-socket={path}: is in use: stop what listens there" in taken.log
    assert path.exists()
    assert program.end(signal.SIGTERM) == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/nowhere/http", "--unix-socket=/nowhere/http: No such file or directory"),
        ("/run/" + "x" * 120, "a unix socket has at most 107 bytes: choose a shorter one"),
        ("/dev/null", "--unix-socket=/dev/null: is no socket: choose another path"),
    ],
    ids=["folder", "length", "no socket"],
)
def test_a_unix_socket_that_cannot_be_is_told_in_one_line(start: Start, path: str, line: str):
    program = start(f"--unix-socket={path}")
    assert program.process.wait(15) == 2
    assert program.said(line), program.log


def test_every_address_of_a_name_is_listened_on():
    listening = listen(Address("localhost", 0))
    try:
        ports = {one.getsockname()[1] for one in listening.sockets}
        assert len(ports) == 1
        found = {place[4][0] for place in socket.getaddrinfo("localhost", 0)}
        hosts = {one.getsockname()[0] for one in listening.sockets}
        assert "127.0.0.1" in hosts
        assert hosts <= found
    finally:
        listening.close()
