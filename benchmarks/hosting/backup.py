"""The backup of docs/self-hosting.md: taken, everything lost, put back."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from benchmarks.hosting import podman
from benchmarks.hosting import stack as stacks
from benchmarks.hosting.network import HOST, within
from benchmarks.hosting.shell import run
from benchmarks.hosting.stack import Stack

DUMP = ("pg_dump", "--username=hime", "--clean", "--if-exists", "hime")
RESTORE = ("psql", "--username=hime", "--quiet", "--set=ON_ERROR_STOP=1", "hime")


def restored(stack: Stack) -> str:
    """Raises AssertionError where a photo that was registered before the backup is not there after it."""
    photo = stack.folder / "photo.png"
    Image.fromarray(np.asarray(data.astronaut())).save(photo)
    url = "http://127.0.0.1:8080/api/people/ann/exemplars"
    key = ("--header", f"Authorization: Bearer {stack.secret('api-keys').splitlines()[0]}")
    answer = json.loads(stack.fetch(url, *key, "--form", f"photos=@{photo}", "--form", "consent=true"))
    (exemplar,) = answer["exemplars"]
    assert exemplar["accepted"], answer

    dump = podman.execute("hime-database", *DUMP)
    files = stack.folder / "photos.tar"
    run("podman", "volume", "export", "--output", files, "hime-data")

    stack.fetch("http://127.0.0.1:8080/api/people/ann", *key, "--request", "DELETE")
    assert not json.loads(stack.fetch(url, *key))["exemplars"]

    run("podman", "stop", "--time=40", "hime-relay")
    run("podman", "exec", "--interactive", "hime-database", *RESTORE, stdin=dump)
    run("podman", "volume", "import", "hime-data", files)
    started = time.monotonic()
    run(*within(HOST), "podman", "start", "hime-relay")  # whose network it is in
    stacks.ready(stack)
    again = json.loads(stack.fetch(url, *key))["exemplars"]
    assert [one["id"] for one in again] == [exemplar["id"]], again
    picture = stack.folder / "again"
    stack.fetch(f"{url}/{exemplar['id']}", *key, "--output", str(picture))
    _is_picture(picture)
    return f"the photo is back; the relay was ready {time.monotonic() - started:.0f} s after its start"


def _is_picture(file: Path) -> None:
    with Image.open(file) as image:
        image.load()
