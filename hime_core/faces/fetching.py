"""Weights that somebody else publishes: from the cache, or fetched in the background for the next start."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from hime_core.errors import InputError

CASIA = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/20180408-102900-casia-webface.pt"
MOST_BYTES = 256 << 20
TIMEOUT_S, WHOLE_S = 15.0, 900.0  # of one answer, and of all
_CHUNK = 1 << 20
_log = logging.getLogger(__name__)
_under_way: set[Path] = set()
_lock = threading.Lock()


def is_published(weights: str) -> bool:
    return weights == "casia" or weights.startswith(("http://", "https://"))


def cache_folder() -> Path:
    """HIME_CACHE, or `hime` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("HIME_CACHE") or Path(base) / "hime")


def cached_or_fetched(weights: str) -> Path | None:
    """Where the cache holds the file; else None, and a thread of its own fetches it.

    weights: "casia", whose publisher states no checksum, so that what it embeds is compared instead; or a URL with
    "#sha256=" and 64 hexadecimal digits. Raises InputError.
    """
    url, sha256 = _source(weights)
    target = cache_folder() / "identity" / (sha256 or urllib.parse.urlsplit(url).path.rsplit("/", 1)[-1])
    if target.is_file():
        return target

    def check(path: Path) -> None:
        from hime_core.faces.networks import read_inception

        if sha256 and (found := hashlib.sha256(path.read_bytes()).hexdigest()) != sha256:
            raise InputError(f"its SHA-256 is {found}, not {sha256}")
        read_inception(path)

    with _lock:
        if target not in _under_way:
            _under_way.add(target)
            arguments = (url, target, check)
            threading.Thread(target=_fetch, args=arguments, name="fetch-identity", daemon=True).start()
    return None


def _source(weights: str) -> tuple[str, str | None]:
    if weights == "casia":
        return CASIA, None
    url, _, fragment = weights.partition("#")
    kind, _, digits = fragment.partition("=")
    if kind != "sha256" or len(digits) != 64 or set(digits.lower()) - set("0123456789abcdef"):
        raise InputError(f"{url} needs its checksum: end it with #sha256= and 64 hexadecimal digits")
    return url, digits.lower()


def _fetch(url: str, target: Path, check: Callable[[Path], None]) -> None:
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _save(url, partial, time.monotonic() + WHOLE_S)
        check(partial)
        partial.replace(target)
        _log.info("face recognition: %s is in the cache and will be used from the next start on", url)
    except (OSError, ValueError, InputError) as error:
        _log.warning("face recognition: %s was not taken (%s); the network of this package goes on", url, error)
    finally:
        partial.unlink(missing_ok=True)
        with _lock:
            _under_way.discard(target)


def _save(url: str, partial: Path, deadline: float) -> None:
    size = 0
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, partial.open("wb") as file:
        while chunk := answer.read1(_CHUNK):
            size += len(chunk)
            if size > MOST_BYTES:
                raise InputError(f"it has more than {MOST_BYTES >> 20} MiB")
            if time.monotonic() > deadline:
                raise TimeoutError("it took too long")
            file.write(chunk)
