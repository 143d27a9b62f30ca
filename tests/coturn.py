"""A real coturn on loopback, as an operator would run it beside the relay."""

from __future__ import annotations

import datetime
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

SECRET = "of the relay and the TURN server"
RELAYED = range(42000, 42100)
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Coturn:
    """port: of UDP and TCP; tls_port: of TLS; authority: the file to trust for it."""

    port: int
    tls_port: int
    authority: Path

    @property
    def urls(self) -> tuple[str, str, str]:
        return (
            f"turn:{HOST}:{self.port}",
            f"turn:{HOST}:{self.port}?transport=tcp",
            f"turns:{HOST}:{self.tls_port}?transport=tcp",
        )


@contextmanager
def coturn(folder: Path, *options: str) -> Iterator[Coturn]:
    """Takes credentials made with SECRET; skips the test where coturn is not installed."""
    program = shutil.which("turnserver")
    if program is None:
        pytest.skip("coturn is not installed (apt-get install coturn)")
    port, tls_port = _free_port(), _free_port()
    certificate, key = _certificate(folder)
    given = {
        "static-auth-secret": SECRET,
        "realm": "hime.example",
        "listening-ip": HOST,
        "relay-ip": HOST,
        "listening-port": port,
        "tls-listening-port": tls_port,
        "cert": certificate,
        "pkey": key,
        "min-port": RELAYED.start,
        "max-port": RELAYED.stop - 1,
        "relay-threads": 1,
        "pidfile": folder / "pid",
        "userdb": folder / "turndb",
        "log-file": "stdout",
    }
    flags = [
        "-n",
        "--use-auth-secret",
        "--no-cli",
        "--no-dtls",
        *(f"--{name}={value}" for name, value in given.items()),
    ]
    with (folder / "coturn.log").open("wb") as log:
        server = subprocess.Popen([program, *flags, *options], stdout=log, stderr=log, cwd=folder)
    try:
        for one in (port, tls_port):
            _wait_for(one, server)
        yield Coturn(port, tls_port, certificate)
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((HOST, port), 1).close()
            return
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline, "coturn does not answer"
            time.sleep(0.05)


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "turn of the tests")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "turn.pem", folder / "turn.key"
    pem = serialization.Encoding.PEM
    paths[0].write_bytes(certificate.public_bytes(pem))
    private = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(pem, private, serialization.NoEncryption()))
    ssl.create_default_context(cafile=paths[0])  # it can be trusted
    return paths
