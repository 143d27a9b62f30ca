"""docker/compose.yaml, run by Podman on a machine without Docker.

Every key that a service has must be known here, so that nothing in the file goes untried without a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DOCKER = Path(__file__).resolve().parents[2] / "docker"
VARIABLE = re.compile(r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}")
# What has no meaning for one run on one machine.
ASIDE = {"profiles", "build", "restart", "stop_grace_period", "depends_on", "healthcheck", "deploy"}
FLAGS = {"init": "--init", "read_only": "--read-only"}
LISTS = {"tmpfs": "--tmpfs", "cap_drop": "--cap-drop", "cap_add": "--cap-add", "security_opt": "--security-opt"}


@dataclass(frozen=True)
class Service:
    """name, image: as in the file; options: of `podman run`; command: after the image; healthcheck: a command."""

    name: str
    image: str
    options: tuple[str, ...]
    command: tuple[str, ...]
    healthcheck: tuple[str, ...] = ()


def load(file: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """The file with its variables filled in. Raises KeyError where one has neither value nor default."""

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(one) for key, one in value.items()}
        if isinstance(value, list):
            return [filled(one) for one in value]
        return VARIABLE.sub(replaced, value) if isinstance(value, str) else value

    def replaced(found: re.Match[str]) -> str:
        name, kind, text = found.groups()
        value = variables.get(name, "")
        if value or kind == ":-":
            return value or text
        raise KeyError(f"{name}: {text or 'not set'}")

    loaded: dict[str, Any] = filled(yaml.safe_load(file.read_text()))
    return loaded


def services(composition: Mapping[str, Any], profile: str, folder: Path) -> list[Service]:
    """Those of a profile, each after what it depends on. folder: that of the file's relative paths.

    Raises ValueError where a service has a key that is not known here.
    """
    chosen = {
        name: service
        for name, service in composition["services"].items()
        if profile in service.get("profiles", [profile])
    }
    order = sorted(chosen, key=lambda name: bool(chosen[name].get("depends_on")))
    return [_service(name, chosen[name], composition, folder) for name in order]


def _service(name: str, given: Mapping[str, Any], composition: Mapping[str, Any], folder: Path) -> Service:
    options = [f"--name={composition['name']}-{name}"]
    command: list[str] = []
    for key, value in given.items():
        if key in FLAGS:
            options += [FLAGS[key]] * bool(value)
        elif key in LISTS:
            options += [f"{LISTS[key]}={_plain(one)}" for one in value]
        elif key == "network_mode":
            options.append(f"--network={value}")
        elif key == "user":
            options.append(f"--user={value}")
        elif key == "environment":
            options += [f"--env={variable}={text}" for variable, text in value.items()]
        elif key == "volumes":
            options += [f"--volume={_mount(one, composition, folder)}" for one in value]
        elif key == "secrets":
            options += [
                f"--volume={folder / composition['secrets'][one]['file']}:/run/secrets/{one}:ro" for one in value
            ]
        elif key == "entrypoint":
            options.append(f"--entrypoint={value[0]}")
            command = [*value[1:], *command]
        elif key == "command":
            command += value
        elif key != "image" and key not in ASIDE:
            raise ValueError(f"{name}: {key} is not known to benchmarks.hosting.compose")
    test = given.get("healthcheck", {}).get("test", [None])
    return Service(name, given["image"], tuple(options), tuple(command), tuple(test[1:]))


def _mount(volume: str | Mapping[str, Any], composition: Mapping[str, Any], folder: Path) -> str:
    if not isinstance(volume, str):
        mode = "ro" if volume["read_only"] else "rw"
        return f"{volume['source']}:{volume['target']}:{mode},{volume['bind']['propagation']}"
    source, rest = volume.split(":", 1)
    if source.startswith("."):
        return f"{(folder / source).resolve()}:{rest}"
    if not source.startswith("/"):
        if source not in composition["volumes"]:
            raise ValueError(f"{source} is no volume of the file")
        return f"{composition['name']}-{source}:{rest}"
    return volume


def _plain(option: str) -> str:
    """Podman takes no value for `no-new-privileges`."""
    return option.removesuffix(":true")
