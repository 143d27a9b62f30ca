"""`hime data`: keys of the photos, and the audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from hime_core.errors import InputError
from server.exemplars.audit import ANONYMOUS, RELAY, AuditLog, Entry
from server.exemplars.consent import WORDINGS
from server.exemplars.errors import StorageError
from server.exemplars.keys import KeySource, new_key
from server.exemplars.rotation import rotate as rotate_keys
from server.exemplars.rotation import waiting
from server.exemplars.storage import Storage
from server.settings import load_settings
from server.settings.keys import write_key


def key(add: bool = False, data: Path | None = None) -> None:
    """Raises InputError."""
    fresh = new_key()
    if not add:
        print(write_key(fresh))
        return
    source = KeySource.of(load_settings(data=data))
    if source.given:
        raise InputError("HIME_DATA_KEY holds the keys: put a new one before them there; `hime data key` prints it")
    try:
        if source.file.exists():
            source.load()  # else a broken file would be hidden by what is put before it
        source.add(fresh)
    except (OSError, StorageError) as error:
        raise InputError(f"{source.file}: {error}") from None
    print(f"A new key is the first in {source.file}. Restart the relay, then run `hime data rotate`.")


def rotate(as_json: bool = False, data: Path | None = None) -> int:
    """Exit code 1 where photos are left under an older key. Raises InputError."""
    from rich.console import Console
    from rich.progress import Progress

    with _storage(data) as storage, Progress(console=Console(stderr=True), transient=True) as progress:
        photos = progress.add_task("photos", total=waiting(storage))
        rotation = rotate_keys(storage, lambda: progress.advance(photos))
        newest = storage.keyring.newest
    if as_json:
        print(json.dumps(asdict(rotation) | {"key": newest}))
    elif rotation.left:
        print(f"{rotation.sealed} photos are encrypted anew; {rotation.left} could not be opened: keep the older keys.")
    else:
        print(f"{rotation.sealed} photos are encrypted anew, all are under key {newest}; older keys may be removed.")
    return 1 if rotation.left else 0


def audit(person: str | None = None, actor: str | None = None, as_json: bool = False, data: Path | None = None) -> None:
    """Raises InputError."""
    with _storage(data) as storage:
        # Only who is asked for, and the relay's own names, can be told from their pseudonyms.
        names = {storage.pseudonyms.of(name): name for name in (ANONYMOUS, RELAY, person, actor) if name}
        for entry in AuditLog(storage).entries(person, actor):
            print(json.dumps(_as_json(entry, names)) if as_json else _as_line(entry, names))


@contextmanager
def _storage(data: Path | None) -> Iterator[Storage]:
    storage = Storage(load_settings(data=data))
    try:
        yield storage
    except StorageError as error:
        raise InputError(f"storage: {error}") from None
    finally:
        storage.close()


def _as_json(entry: Entry, names: dict[str, str]) -> dict[str, object]:
    """One object a line; a consent with the words that it was given to."""
    terms = entry.terms and entry.terms | {
        "expires_at": _time(entry.terms["expires_at"]),
        "text": WORDINGS.get(entry.terms["wording"]),
    }
    named = {"person": names.get(entry.person, entry.person), "actor": names.get(entry.actor, entry.actor)}
    return asdict(entry) | named | {"time": _time(entry.time), "terms": terms}


def _as_line(entry: Entry, names: dict[str, str]) -> str:
    by = "themselves" if entry.actor == entry.person else names.get(entry.actor, entry.actor)
    photo = f", photo {entry.exemplar}" if entry.exemplar else ""
    terms = entry.terms
    until = f", until {_time(terms['expires_at'])}, wording {terms['wording']}" if terms else ""
    return f"{_time(entry.time)}  {entry.action:7}  {names.get(entry.person, entry.person)} by {by}{photo}{until}"


def _time(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
