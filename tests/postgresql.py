"""A PostgreSQL of the test run's own: on a socket in a temporary directory, gone when the run ends."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

ACCOUNTS = ("postgres", "nobody")  # the server refuses to run as root; one of these runs it then
SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=", "max_connections=50")


def programs() -> Path | None:
    """The folder of PostgreSQL's server programs, Debian's newest first."""
    if on_path := shutil.which("initdb"):
        return Path(on_path).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return folders[-1].parent if folders else None


class Cluster:
    def __init__(self) -> None:
        found = programs()
        if found is None:
            raise FileNotFoundError(
                "PostgreSQL's server is not installed (`make test-python` installs Debian's package); "
                "HIME_TEST_POSTGRESQL=0 leaves its tests out"
            )
        self._programs, self._numbers = found, itertools.count()
        self.folder = Path(tempfile.mkdtemp(prefix="hime-pg-", dir="/tmp"))  # a socket's path may have 107 letters
        self._as: dict = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam(next(name for name in ACCOUNTS if _exists(name)))
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self._run(
            "initdb", "-D", str(self._data), "-U", "hime", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"
        )
        self.start()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        options = [option for setting in SETTINGS for option in ("-c", setting)]
        command = [self._programs / "postgres", "-D", self._data, "-k", self.folder, *options]
        with open(self.folder / "log", "ab") as log:
            self._server = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, **self._as)
        end = time.monotonic() + 60
        while True:
            try:
                self.connect("postgres").close()
                return
            except psycopg.OperationalError:
                if self._server.poll() is not None or time.monotonic() > end:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: connections are cut; SIGQUIT: as after a crash."""
        self._server.send_signal(how)
        self._server.wait(60)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(host=str(self.folder), user="hime", dbname=database, autocommit=True)

    def new_database(self) -> str:
        """The SQLAlchemy URL of an empty database."""
        name = f"test{next(self._numbers)}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return f"postgresql+psycopg://hime@/{name}?host={self.folder}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, **self._as)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr}")


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
