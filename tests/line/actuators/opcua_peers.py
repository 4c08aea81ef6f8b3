"""Starts ``opcua_plc.py`` and makes certificates, for the tests of OPC UA."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.line.actuators.opcua_plc import STEP
from tests.line.actuators.peers import PATIENCE_S, command, free_port

from beltsight.line.actuators import Command

SLOTS = 8
APPLICATION = "urn:beltsight:line"
__all__ = ["SLOTS", "STEP", "OpcUaPeer", "make_certificate", "peer", "url"]


def url(port: int) -> str:
    return f"opc.tcp://127.0.0.1:{port}/beltsight/"


class OpcUaPeer:
    """The process; it can be stopped, set going again, and killed."""

    def __init__(self, role: str, port: int, step: int = STEP, **settings: Any) -> None:
        where = {"port": port} if role == "server" else {"url": url(port)}
        self.port = port
        self.at = 1000
        order = {"role": role, "start": self.at, "step": step,
                 "settings": {**where, "slots": SLOTS, **settings}}  # fmt: skip
        program = Path(__file__).with_name("opcua_plc.py")
        repository = Path(__file__).resolve().parents[3]
        self.opened: list[tuple[str, int, int]] = []
        self._ready = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, str(program), json.dumps(order)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(repository)},
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait(self) -> None:
        """Until it beats for the first time."""
        assert self._ready.wait(2 * PATIENCE_S), "the PLC did not start"

    def fired(self) -> Counter[str]:
        """How often each command opened its first lane."""
        return Counter(one for one, _, _ in list(self.opened))

    def ahead(self, number: int, run_id: str, counts: int, **changes: Any) -> Command:
        """A command that is due when the belt has gone on by so many counts."""
        fire = self.at + counts
        values = {"command_id": f"{run_id}-{number}", "raw_fire_count": fire, "latency_ms": 0.0,
                  "raw_end_count": fire + 250, "lanes": (number % 64,)}  # fmt: skip
        return command(number, **{**values, **changes})

    def move(self, counts: int) -> None:
        """Let the belt go on."""
        self.at += counts
        assert self._process.stdin
        self._process.stdin.write(f"{self.at}\n".encode())
        self._process.stdin.flush()

    def stop(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout and self._process.stdin
        self._process.stdout.close()
        self._process.stdin.close()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.strip() == b"ready":
                self._ready.set()
            else:
                self.opened.append(tuple(json.loads(line)))


@contextmanager
def peer(role: str, port: int | None = None, **settings: Any) -> Iterator[OpcUaPeer]:
    made = OpcUaPeer(role, port or free_port(), **settings)
    try:
        if role == "server":
            made.wait()
        yield made
    finally:
        made.go_on()
        made.kill()


def make_certificate(folder: Path, name: str) -> tuple[str, str]:
    """A self-signed certificate and its key, as PEM files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    usages = x509.KeyUsage(True, True, True, True, False, True, False, False, False)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([
            x509.UniformResourceIdentifier(APPLICATION), x509.DNSName("localhost"),
        ]), critical=False)
        .add_extension(usages, critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = folder / f"{name}.pem", folder / f"{name}.key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ))  # fmt: skip
    return str(paths[0]), str(paths[1])
