"""Fenced blocks of a Markdown file, and what the comment before each says of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SHELLS = ("bash", "sh", "console")
# What a test's machine lacks; the block is then only checked for its grammar.
NEEDS = {
    "docker": "Docker Engine with Compose",
    "gpu": "a graphics card",
    "phone": "a phone, or another machine on the network",
    "root": "to change the machine: packages, services, firewall",
    "ffmpeg": "FFmpeg 8 with its WHIP muxer",
    "gstreamer": "GStreamer's webrtcbin and its bindings for Debian's Python",
}
# Whole minutes, or data that is not in the repository: only what the commands are told is compared with their --help.
LONG = "long"
# Its last command serves until it is ended.
SERVES = "serves"

_FENCE = re.compile(r"^(?P<fence>```+)(?P<language>\w*)\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- (?:(?P<needs>needs: (?P<what>\w+))|(?P<mark>\w+)) -->\n+\Z")


@dataclass(frozen=True)
class Block:
    """mark: `needs`, `long`, `serves`, or nothing; what: is needed."""

    line: int
    language: str
    text: str
    mark: str = ""
    what: str = ""

    @property
    def is_shell(self) -> bool:
        return self.language in SHELLS

    @property
    def script(self) -> str:
        """Of `console`, what stands behind a prompt; what it prints is left out."""
        if self.language != "console":
            return self.text
        return "".join(line[2:] for line in self.text.splitlines(True) if line.startswith("$ "))

    @property
    def commands(self) -> list[list[str]]:
        """Each command's words, without variables before it. For the simple commands of `long` blocks."""
        found = []
        for line in self.script.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words:
                found.append(words)
        return found


def blocks(markdown: str) -> Iterator[Block]:
    """Raises ValueError for a comment before a block that is no known mark."""
    for found in _FENCE.finditer(markdown):
        line = markdown.count("\n", 0, found.start()) + 1
        before = markdown[: found.start()]
        mark = what = ""
        if marked := _MARK.search(before):
            mark, what = ("needs", marked["what"]) if marked["needs"] else (marked["mark"], "")
            if what not in NEEDS if mark == "needs" else mark not in (LONG, SERVES):
                known = [f"needs: {one}" for one in NEEDS] + [LONG, SERVES]
                raise ValueError(f"line {line}: no block is marked {marked[0].strip()}; these are: {', '.join(known)}")
        yield Block(line, found["language"], found["text"], mark, what)


def read(path: Path) -> list[Block]:
    return list(blocks(path.read_text("utf-8")))
