"""Every problem of the relay has a kind, and every kind has words in the page's languages."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from hime_core.exemplars.photos import UNUSABLE
from server.problem_kinds import KINDS, type_of

ROOT = Path(__file__).parents[2]
RAISING = ("Problem", "Refused", "problem_response")


def _calls() -> list[tuple[str, ast.Call]]:
    found = []
    for path in sorted((ROOT / "server").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if name.startswith("server/client/"):  # its Refused is no answer of the relay
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RAISING:
                found.append((f"{name}:{node.lineno}", node))
    return found


def test_every_problem_has_a_kind() -> None:
    calls = _calls()
    assert len(calls) > 40
    assert [where for where, call in calls if not any(each.arg == "kind" for each in call.keywords)] == []


def test_every_kind_is_used() -> None:
    source = "".join(path.read_text() for path in (ROOT / "server").rglob("*.py") if path.name != "problem_kinds.py")
    assert [kind for kind in KINDS if f'"{kind}"' not in source] == []


def test_a_type_is_a_uri_reference() -> None:
    assert type_of("name-taken") == "/problems/name-taken"
    assert type_of(None) == "about:blank"


@pytest.mark.parametrize("language", ["en", "de", "es"])
def test_the_page_has_words_for_every_kind(language: str) -> None:
    text = (ROOT / f"client_web/src/strings/{language}/problems.ts").read_text()
    assert sorted(re.findall(r'^  "?([a-z-]+)"?:', text, re.M)) == sorted(KINDS)


@pytest.mark.parametrize("language", ["en", "de", "es"])
def test_the_page_has_words_for_every_reason_against_a_photo(language: str) -> None:
    text = (ROOT / f"client_web/src/strings/{language}.ts").read_text()
    told = text.split("unusable: {")[1].split("}")[0]
    assert sorted(re.findall(r"^      (\w+):", told, re.M)) == sorted([*UNUSABLE, "another_person"])


def test_the_documents_name_every_kind() -> None:
    text = (ROOT / "docs/api.md").read_text()
    assert [kind for kind in KINDS if f"`{kind}`" not in text] == []
