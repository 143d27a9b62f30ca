"""A training set in one file: a plain zip of encoded headshots and an index, small enough to be carried around."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from hime_core.data.headshots import Person, Shot, count, read_identities, read_photo
from hime_core.errors import InputError

FORMAT = "hime-headshots-1"
INDEX = "index.json"


def read_people(source: Path) -> list[Person]:
    """The training part of a folder of identities, of CelebAMask-HQ, or of a packed file. Raises InputError."""
    if source.is_file():
        return read_pack(source)
    return [Person(name, tuple(read_photo(path) for path in paths)) for name, paths in read_identities(source).items()]


def read_pack(path: Path) -> list[Person]:
    """Raises InputError when the file is no pack or is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            index = json.loads(archive.read(INDEX))
            if index["format"] != FORMAT:
                raise ValueError(f"its format is {index['format']}")
            people = [
                Person(entry["name"], tuple(_shot(archive, fields) for fields in entry["shots"]), entry["clip"])
                for entry in index["people"]
            ]
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no training set written by `hime pack` ({error}); pack it again") from error
    if not count(people) and not (len(people) == 1 and people[0].clip):
        raise InputError(f"{path} holds no headshots; pack it again")
    return people


def archive_of(people: Iterable[Person]) -> bytes:
    """The file of these people."""
    buffer, index = io.BytesIO(), []
    with zipfile.ZipFile(buffer, "w") as archive:  # pictures do not shrink further: stored
        for p, person in enumerate(people):
            entries = []
            for s, shot in enumerate(person.shots):
                name = f"{p:05}/{s:04}{'.webp' if shot.encoded[:4] == b'RIFF' else '.jpg'}"
                archive.writestr(zipfile.ZipInfo(name), shot.encoded)
                marks = None if shot.landmarks is None else np.round(shot.landmarks.astype(float), 4).tolist()
                entries.append({"file": name, "frame": shot.frame, "side": shot.side, "landmarks": marks})
            index.append({"name": person.name, "clip": person.clip, "shots": entries})
        text = json.dumps({"format": FORMAT, "people": index}, separators=(",", ":"))
        archive.writestr(zipfile.ZipInfo(INDEX), text, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def write_archive(archive: bytes, target: Path) -> None:
    """Writes the file whole or not at all. Raises InputError."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.write_bytes(archive)
        partial.replace(target)
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def _shot(archive: zipfile.ZipFile, fields: dict[str, Any]) -> Shot:
    marks = fields["landmarks"]
    landmarks = None if marks is None else np.array(marks, np.float32).reshape(5, 2)
    return Shot(archive.read(fields["file"]), landmarks, int(fields["frame"]), int(fields["side"]))
