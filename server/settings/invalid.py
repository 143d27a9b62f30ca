"""What is wrong with the settings, in one line that names where it was said."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, TomlConfigSettingsSource

from hime_core.errors import InputError
from server.settings.quoting import quoted

PREFIX = "HIME_"


class InvalidSettings(InputError):
    """A setting is wrong; the message is one line that names it."""


def config_source(settings: type[BaseSettings], file: Path) -> TomlConfigSettingsSource:
    """The settings of a TOML file. Raises InvalidSettings where it cannot be read, or is no TOML."""
    named = f"the settings' file {quoted(str(file))}"
    try:
        if file.is_file():  # what is not, pydantic-settings takes for an empty one
            return TomlConfigSettingsSource(settings, file)
    except OSError as error:
        raise InvalidSettings(f"{named} cannot be read ({error.strerror}): see --config and {PREFIX}CONFIG") from None
    except UnicodeDecodeError:
        raise InvalidSettings(f"{named} is not text in UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidSettings(f"{named} is no TOML: {error}") from None
    raise InvalidSettings(f"{named} is not there: give another by --config or {PREFIX}CONFIG")


def in_one_line(error: ValidationError, known: Collection[str], options: Collection[str], file: Path | None) -> str:
    """known: the names of all settings; options: of those that were given as options; file: the one that was read."""
    first, *others = error.errors(include_url=False, include_input=False)
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    for other in others:  # where a setting may be of one kind or another, there is an error for each
        if other["loc"][:1] == first["loc"][:1] and isinstance(other["loc"][-1], str):
            message += f" or {other['msg'].removeprefix('Input should be ')}"
    name = str(first["loc"][0])
    if name in options:
        return f"--{name.replace('_', '-')}: {message}"
    written = _written(file) if file is not None else {}
    if name not in written or PREFIX + name.upper() in os.environ:
        return f"{PREFIX}{name.upper()}: {message}"
    if first["type"] == "extra_forbidden":
        message = _unknown(name, written[name], known)
    return f"{file}: {name}: {message}"


def _unknown(name: str, value: object, known: Collection[str]) -> str:
    if isinstance(value, dict):
        return "settings stand by themselves, in no table"
    near = difflib.get_close_matches(name.lower().removeprefix(PREFIX.lower()), known, 1)
    return (
        f"there is no such setting; {near[0]} is one" if near else "there is no such setting; docs/settings.md has all"
    )


def _written(file: Path) -> Mapping[str, Any]:
    return tomllib.loads(file.read_text("utf-8"))
