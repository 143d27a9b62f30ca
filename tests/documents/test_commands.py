"""Each shell block of README.md and docs/ is run as it stands, those of a document one after the other in one shell,
against a relay of their own; or a mark says why not (`tests/documents/blocks.py`)."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.documents.blocks import LONG, SERVES, Block, read
from tests.documents.relay import ROOT, environment, put_files, serving

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
KEY = re.compile(r"^export KEY=(\S+)", re.MULTILINE)  # a document with it is for a relay that asks for keys
PATIENCE = 240  # seconds, for a document's commands


def told(document: Path) -> str:
    return str(document.relative_to(ROOT))


def marked(*marks: str) -> list[object]:
    """The shell blocks of all documents with one of the marks."""
    return [
        pytest.param(document, block, id=f"{told(document)}:{block.line}")
        for document in DOCUMENTS
        for block in read(document)
        if block.is_shell and block.mark in marks
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=told)
def test_every_block_says_what_it_is(document: Path) -> None:
    """So that no command escapes: text, ini and json are no shell's."""
    assert [block.line for block in read(document) if not block.language] == [], "lines of blocks without a language"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_files(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def open_relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving(_hime("serve", "--port", "0"), tmp_path_factory.mktemp("open"), {}) as port:
        yield port


@pytest.mark.parametrize(
    "document", [one for one in DOCUMENTS if any(b.is_shell and not b.mark for b in read(one))], ids=told
)
def test_the_commands_do_what_they_say(document: Path, folder: Path, request: pytest.FixtureRequest) -> None:
    script = "\n".join(
        f"echo '== line {block.line}' >&2\n{block.script}"
        for block in read(document)
        if block.is_shell and not block.mark
    )
    if key := KEY.search(script):
        (folder / "relay").mkdir()
        with serving(_hime("serve", "--port", "0"), folder / "relay", {"HIME_API_KEYS": key[1]}) as port:
            _run(script, port, folder)
    else:
        _run(script, request.getfixturevalue("open_relay"), folder)


@pytest.mark.parametrize(("document", "block"), marked(SERVES))
def test_what_serves_is_ready(document: Path, block: Block, folder: Path) -> None:
    first, last = block.script.rstrip().rpartition("\n")[::2]
    with serving(["bash", "-euc", f"{first}\n{_in_place(last)}"], folder, {"HIME_PORT": "0"}) as port:
        assert port


@pytest.mark.parametrize(("document", "block"), marked(LONG))
def test_long_commands_are_told_what_they_know(document: Path, block: Block, folder: Path) -> None:
    for words in block.commands:
        if words[0] == "make":
            targets = [word for word in words[1:] if "=" not in word]
            subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, check=True, capture_output=True)
            continue
        tool = words[:2] if Path(words[0]).name == "hime" else words[:3]
        known = _help(tuple(Path(word).name if i == 0 else word for i, word in enumerate(tool)))
        unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
        assert not unknown, f"{' '.join(tool)} --help has no {', '.join(unknown)}"


@pytest.mark.parametrize(("document", "block"), marked("needs"))
def test_what_cannot_be_run_here_is_a_shells_at_least(document: Path, block: Block) -> None:
    checked = subprocess.run(["bash", "-n"], input=block.script, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def _run(script: str, port: int, folder: Path) -> None:
    """What a script leaves running ends with it."""
    script = script.replace("localhost:8080", f"localhost:{port}")
    said = folder / "said.txt"
    with said.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env=environment(folder, {}),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(PATIENCE)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert code == 0, f"exit code {code}:\n{said.read_text()[-4000:]}"


def _hime(*words: str) -> list[str]:
    return [sys.executable, "-m", "server.cli", *words]


def _in_place(command: str) -> str:
    """Replaces the shell, so that a signal reaches what serves."""
    variables = re.match(r"(?:[A-Z_]+=\S* +)*", command)
    assert variables is not None
    return f"exec env {variables[0]}{command[variables.end() :]}"


@functools.cache
def _help(tool: tuple[str, ...]) -> str:
    """What a command of `hime`, or a module run by `python -m`, says of its options."""
    command = _hime(tool[1]) if tool[0] == "hime" else [sys.executable, *tool[1:]]
    variables = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run([*command, "--help"], env=variables, capture_output=True, text=True, check=True).stdout
