"""Where the documents' links lead, within the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.documents.relay import ROOT

DOCUMENTS = sorted(
    path
    for part in (".", "docs", "benchmarks", "docker", "hime_core")
    for path in (ROOT / part).glob("**/*.md" if part != "." else "*.md")
)
LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(<?([^)\s>]+)>?\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    lost = []
    for target in LINK.findall(CODE.sub("", document.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (document.parent / path).resolve() if path else document
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            lost.append(target)
    assert not lost


def anchors(document: Path) -> set[str]:
    """Of the headings, as GitHub makes them: letters, digits, `-` and `_`, in lower case, with `-` for a space."""
    headings = re.findall(
        r"^#+ (.+)$", CODE.sub(lambda code: code[0].strip("`"), document.read_text("utf-8")), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_an_anchor_is_what_github_makes_of_a_heading(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("# Settings, and `hime join`\n\n## What was tried?\n")
    assert anchors(document) == {"settings-and-hime-join", "what-was-tried"}
