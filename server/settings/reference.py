"""The settings as documents: `python -m server.settings.reference markdown` is docs/settings.md, `… toml` is
docs/hime.toml.example. Both are made of the settings' classes alone, and a test compares them."""

from __future__ import annotations

import inspect
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from server.settings import Settings
from server.settings.invalid import PREFIX

WIDTH = 118
# What a file cannot say, or this machine alone has.
WRITTEN = {"client": '"client_web/dist"', "config": "", "data_key_file": '"data/keys"'}

INTRODUCTION = """\
<!-- Made by `python -m server.settings.reference markdown`: change server/settings instead. -->
# Settings

None is needed to try the relay. A setting is given by the first of these that has it:

1. the options of `hime serve`, which has one for the most usual: `hime serve --help`
2. an environment variable, `HIME_` and the name in capitals; lists with commas between
3. a TOML file, named by `hime serve --config FILE` or `HIME_CONFIG`; lists as TOML has them. It holds names as below,
   in no table. [hime.toml.example](hime.toml.example) has all of them
4. the default

<!-- serves -->
```bash
echo 'max_rooms = 20' > hime.toml
HIME_LOG_LEVEL=warning hime serve --config hime.toml
```

A value that is wrong, and in the file a name that is none, keeps the relay from starting, with one line that names
file, setting and what would be right. `hime doctor`, `hime token` and `hime data` read the same environment, and so the
file of `HIME_CONFIG`. Relative paths are relative to where the relay is started.

**Secrets** (keys, passwords) may stand in the file, but whoever may read it has them then: rather keep them in files of
their own, with `HIME_API_KEYS_FILE` and `HIME_DATA_KEY_FILE`, or in the environment.
"""


@dataclass(frozen=True)
class Setting:
    """schema: its part of the JSON schema of all."""

    name: str
    schema: Mapping[str, Any]

    @property
    def default(self) -> str:
        """As TOML has it; empty where there is none."""
        if self.name in WRITTEN:
            return WRITTEN[self.name]
        return json.dumps(self.schema["default"])  # of texts, numbers, true, false and empty lists TOML has the same

    @property
    def what(self) -> str:
        return str(self.schema.get("description", ""))

    @property
    def kind(self) -> str:
        return _kind(self.schema)


@dataclass(frozen=True)
class Group:
    title: str
    about: str
    settings: tuple[Setting, ...]


def groups() -> Iterator[Group]:
    """As the classes group them, those of the service first."""
    properties = Settings.model_json_schema(mode="validation")["properties"]
    for part in Settings.__mro__:
        if names := [name for name in getattr(part, "__annotations__", ()) if name in properties]:
            title = part.__name__.removesuffix("Settings") or "Service"
            about = " ".join((inspect.getdoc(part) or "").split())
            yield Group(title, about, tuple(Setting(name, properties[name]) for name in names))


def markdown() -> str:
    parts = [INTRODUCTION]
    for group in groups():
        parts += [f"## {group.title}\n", f"{group.about}\n"]
        rows = [
            f"| `{one.name}` | `{PREFIX}{one.name.upper()}` | {one.kind} | {_shown(one)} | {_cell(one.what)} |"
            for one in group.settings
        ]
        parts.append("\n".join(("| name | environment | type | default | what |", "|---|---|---|---|---|", *rows, "")))
    return "\n".join(parts)


def toml() -> str:
    lines = [
        "# Settings of HIME Relay: hime serve --config FILE, or HIME_CONFIG=FILE.",
        "# Each is at its default. Take the # away from what you change, and leave the rest: defaults may get better.",
        "# Made by `python -m server.settings.reference toml`.",
    ]
    for group in groups():
        lines += ["", "", *_comment(f"{group.title}. {group.about}")]
        for one in group.settings:
            if one.default:
                lines += ["", *_comment(f"{one.kind.replace('`', '')}: {one.what}"), f"#{one.name} = {one.default}"]
    return "\n".join((*lines, ""))


def _kind(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        *first, last = (f"`{value}`" for value in schema["enum"])
        return f"{', '.join(first)} or {last}"
    kind = {"array": "list", "boolean": "`true` or `false`", "integer": "whole number", "number": "number"}.get(
        schema["type"], {"path": "path", "password": "secret"}.get(schema.get("format", ""), "text")
    )
    return kind + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    least, above, most = (schema.get(name) for name in ("minimum", "exclusiveMinimum", "maximum"))
    said = [f" from {least}" if least is not None else "", f" above {above}" if above is not None else ""]
    return "".join((*said, f" to {most}" if most is not None else ""))


def _shown(one: Setting) -> str:
    nothing = one.schema["default"] in ("", [], None)
    return "" if nothing else f"`{one.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def main() -> None:
    written = {"markdown": markdown, "toml": toml}
    if len(sys.argv) != 2 or sys.argv[1] not in written:
        sys.exit(f"say which document: {' or '.join(written)}")
    sys.stdout.write(written[sys.argv[1]]())


if __name__ == "__main__":
    main()
