"""Real nginx and HAProxy in front of a server; without them their tests are skipped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.ports import free_port
from tests.support.raw import Tus, Wire

if TYPE_CHECKING:
    from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "docs" / "deploy"
PROGRAMS = ("nginx", "haproxy")
"""The programs with which everything is tried."""
PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy", "caddy": "caddy"}
"""The packages of Debian and Ubuntu that hold them."""
START_SECONDS = 10.0

_NGINX = """\
daemon off;
pid {folder}/pid;
error_log {folder}/error.log info;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


def need_proxy(program: str) -> None:
    """Skip the test, with the remedy, where a proxy is missing."""
    if _find(program) is None:
        pytest.skip(f"no {program} found; remedy: apt-get install {PACKAGES[program]}")


class RunningProxy:
    """A proxy that runs `config` until `close`.

    In `config` stand `{listen}` (address and port), `{server}` (where tusserver listens) and
    `{certificate}` (a file with certificate and key).
    """

    def __init__(self, program: str, config: str, *, server: str, tls: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="proxy-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        scheme = "https" if tls else "http"
        host = "localhost" if program == "caddy" else "127.0.0.1"  # It goes by names alone.
        self.url = f"{scheme}://{host}:{self.port}/files/"
        """The creation URL."""
        self.certificate = self.folder / "certificate.pem"
        make_certificate(self.certificate)
        for name, value in {
            "listen": f"{host}:{self.port}",
            "server": server,
            "certificate": str(self.certificate),
        }.items():
            config = config.replace("{" + name + "}", value)
        folder = str(self.folder)
        self._log = self.folder / "log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(program, config),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Where Caddy keeps what it remembers.
                env=os.environ | {"XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder},
            )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it and delete what is its own."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def log(self) -> str:
        """Give everything it has printed and logged."""
        texts = [self._log, self.folder / "error.log"]
        return "".join(text.read_text(errors="replace") for text in texts if text.exists())

    def _command(self, program: str, config: str) -> list[str]:
        path = _find(program)
        assert path is not None, program
        site = self.folder / "site.conf"
        site.write_text(config)
        if program == "haproxy":
            return [path, "-db", "-f", str(site)]
        if program == "caddy":
            return [path, "run", "--config", str(site), "--adapter", "caddyfile"]
        main = self.folder / "main.conf"
        main.write_text(_NGINX.format(folder=self.folder))
        return [path, "-p", str(self.folder), "-c", str(main), "-e", str(self.folder / "error.log")]

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the proxy did not start:\n{self.log[-3000:]}") from error
                time.sleep(0.01)
            else:
                return


def documented(program: str) -> str:
    """Give the configuration of the deployment page, with nothing but places exchanged."""
    if program == "caddy":
        text = (DEPLOY / "Caddyfile").read_text(encoding="utf-8")
        alone = "{\n\tadmin off\n\tauto_https off\n}\n"
        tls = "\n\ttls {certificate} {certificate}"
        places = {"uploads.example.org {": alone + "https://{listen} {" + tls}
    elif program == "nginx":
        text = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
        places = {
            "listen 443 ssl;": "listen {listen} ssl;",
            "/etc/ssl/certs/uploads.example.org.pem": "{certificate}",
            "/etc/ssl/private/uploads.example.org.key": "{certificate}",
        }
    else:
        text = (DEPLOY / "haproxy.cfg").read_text(encoding="utf-8")
        places = {
            "bind :443 ssl": "bind {listen} ssl",
            "/etc/haproxy/uploads.example.org.pem": "{certificate}",
        }
    return exchanged(text, places | {" 127.0.0.1:1080": " {server}"})


def exchanged(text: str, places: dict[str, str]) -> str:
    """Replace texts, each of which stands there exactly once."""
    for old, new in places.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


class TlsWire(Wire):
    """A connection with TLS, which believes any certificate."""

    def __init__(self, host: str, port: int, *, timeout: float = 10.0) -> None:
        super().__init__(host, port, timeout=timeout)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.tls = self.socket = context.wrap_socket(self.socket)

    def _readable(self, seconds: float) -> bool:
        return bool(self.tls.pending()) or super()._readable(seconds)


class TlsTus(Tus):
    """The tus verbs over TLS."""

    def wire(self, *, timeout: float = 10.0) -> Wire:
        return TlsWire(self.host, self.port, timeout=timeout)


def make_certificate(path: Path, *, days: float = 30, name: str = "localhost") -> None:
    """Write a certificate for localhost, valid for so many days, and its key into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(_names(name)), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)


def _names(name: str) -> list[x509.GeneralName]:
    return [x509.DNSName(name), x509.IPAddress(IPv4Address("127.0.0.1"))]


def trusting(certificate: Path) -> dict[str, str]:
    """Give the variables by which Node, Python, curl and our Java program believe a certificate."""
    names = ("NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
    return dict.fromkeys(names, str(certificate))


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
