"""Where the key comes from that photos are encrypted with."""

from __future__ import annotations

import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from server.exemplars.cipher import Keyring
from server.exemplars.errors import KeyUnavailable
from server.private import write_private
from server.settings import Settings
from server.settings.keys import KEY_BYTES, parse_keys, write_key

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def new_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


@dataclass(frozen=True)
class KeySource:
    """given: keys of the environment, which come before the file; embedded: whether the file is the data directory's
    own, which the relay makes when there is nothing yet that is encrypted."""

    given: tuple[bytes, ...] = field(repr=False)
    file: Path
    embedded: bool

    @classmethod
    def of(cls, settings: Settings) -> KeySource:
        given = settings.data_key.get_secret_value()
        file = settings.data_key_file or settings.data.resolve() / "hime.key"
        return cls(parse_keys(given) if given else (), file, settings.data_key_file is None)

    def load(self) -> Keyring:
        """Raises KeyUnavailable."""
        if self.given:
            return Keyring(self.given)
        try:
            return Keyring(parse_keys(self.file.read_text("ascii", "replace")))
        except FileNotFoundError:
            raise KeyUnavailable(
                "the photos' key is missing: give it as HIME_DATA_KEY or HIME_DATA_KEY_FILE, or put hime.key back into "
                "the data directory"
            ) from None
        except OSError as error:
            raise KeyUnavailable(f"the photos' key file cannot be read ({error.strerror})") from None
        except ValueError as error:
            raise KeyUnavailable(f"the photos' key file is wrong: {error}") from None

    def load_or_make(self) -> Keyring:
        """For a database that holds nothing encrypted. Raises KeyUnavailable where the key was to be given."""
        if not self.given and self.embedded and not self.file.exists():
            self.add(new_key())
        return self.load()

    def add(self, key: bytes) -> None:
        """Puts a key first into the file, in one step. Raises OSError."""
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        older = self.file.read_text("ascii") if self.file.exists() else ""
        # On the disk before any photo is. Where there was none, another relay over this directory may be faster: its
        # key counts.
        write_private(self.file, f"{write_key(key)}\n{older}", replace=bool(older))

    def place(self) -> str:
        """Where the key lies, as a sentence's end for the operator. Raises KeyUnavailable where it cannot be had."""
        self.load()
        if self.given:
            return f"HIME_DATA_KEY, {_count(len(self.given))}"
        keys = _count(len(self.load().ids))
        if self.file.stat().st_mode & OTHERS:
            raise KeyUnavailable(f"{self.file} can be read by others: chmod 600 {self.file}")
        beside = "; it lies beside the photos: whoever copies the directory has both" if self.embedded else ""
        return f"{self.file}, {keys}{beside}"


def _count(keys: int) -> str:
    return "1 key" if keys == 1 else f"{keys} keys"
