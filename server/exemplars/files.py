"""The photos' files, reached by an fsspec URL."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from server.exemplars.errors import StorageError
from server.private import sync_directory

PROBE_BYTES = 4096
DRAFT = ".part"

log = logging.getLogger(__name__)


class Files:
    """One file per id. Names end in .jpg, as earlier versions had them, though what is inside is sealed.

    A local file is replaced in one step and is on the disk when write() returns. All raise StorageError.
    """

    def __init__(self, url: str) -> None:
        with _failures():
            self._files, self._root = fsspec.core.url_to_fs(url)
            self._local = isinstance(self._files, LocalFileSystem)
            if self._local:
                Path(self._root).mkdir(mode=0o700, parents=True, exist_ok=True)
                os.chmod(self._root, 0o700)
                sync_directory(Path(self._root).parent)
            else:
                self._files.makedirs(self._root, exist_ok=True)

    def check(self) -> None:
        """Whether files can be written now."""
        with _failures():
            if self._local:
                with tempfile.TemporaryFile(dir=self._root) as probe:  # has no name that a crash could leave behind
                    probe.write(bytes(PROBE_BYTES))
            else:
                self._files.pipe_file(f"{self._root}/probe", b"")
                with suppress(FileNotFoundError):  # another relay's check was faster
                    self._files.rm_file(f"{self._root}/probe")

    def write(self, id: str, data: bytes) -> None:
        with _failures():
            if self._local:
                self._replace(self._path(id), self._draft(id), data)
            else:
                self._files.pipe_file(self._path(id), data)

    def read(self, id: str) -> bytes | None:
        """None where there is none."""
        with _failures():
            try:
                data: bytes = self._files.cat_file(self._path(id))
            except FileNotFoundError:
                return None
            return data

    def remove(self, id: str) -> None:
        """The file, and what was written of it where writing was cut short; also where there is neither."""
        with _failures():
            for path in (self._path(id), self._draft(id)) if self._local else (self._path(id),):
                with suppress(FileNotFoundError):
                    self._files.rm_file(path)
            if self._local:
                sync_directory(self._root)  # else it may be back when the power is, and its row is not

    def sweep(self, before: float) -> None:
        """Removes what was written of local files that were cut short, where it was before a time in Unix seconds."""
        if not self._local:
            return
        with _failures():
            for entry in os.scandir(self._root):
                if entry.name.endswith(DRAFT):
                    with suppress(FileNotFoundError):
                        if entry.stat().st_mtime < before:
                            os.unlink(entry.path)

    def _replace(self, path: str, draft: str, data: bytes) -> None:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        sync_directory(self._root)  # else the new name may be lost with the power

    def _path(self, id: str) -> str:
        return f"{self._root}/{id}.jpg"

    def _draft(self, id: str) -> str:
        return f"{self._root}/{id}{DRAFT}"


@contextmanager
def _failures() -> Iterator[Any]:
    try:
        yield
    except Exception as error:  # each file system raises errors of its own kind
        log.warning("the photos' files failed: %s", type(error).__name__)
        raise StorageError(f"the photos' files cannot be used ({type(error).__name__})") from error
