"""Podman with a store of its own, on machines where control groups and limits are not to be had either."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.hosting.compose import Service
from benchmarks.hosting.network import HOST, within
from benchmarks.hosting.shell import run

STORAGE = '[storage]\ndriver = "overlay"\ngraphroot = "{work}/graph"\nrunroot = "{work}/run"\n'
CONTAINERS = """[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
"""
# In a mount namespace of its own: crun takes nothing but a unified hierarchy of control groups.
OWN_MOUNTS = 'umount -R /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 none /sys/fs/cgroup; exec "$@"'


def own_mounts(*command: str) -> tuple[str, ...]:
    """The command in a mount namespace where Podman works."""
    return ("unshare", "--mount", "sh", "-c", OWN_MOUNTS, "sh", *command)


def configure(work: Path) -> None:
    """From now on, Podman's images and containers are in that folder."""
    for name, variable, text in (
        ("storage.conf", "CONTAINERS_STORAGE_CONF", STORAGE),
        ("containers.conf", "CONTAINERS_CONF", CONTAINERS),
    ):
        (work / name).write_text(text.format(work=work))
        os.environ[variable] = str(work / name)


def build(context: Path, tag: str, *options: str) -> None:
    run(
        "nice", "podman", "build", "--network=host", "--isolation=chroot", "--layers", f"--tag={tag}", *options, context
    )


def size(image: str) -> int:
    """Bytes, all layers together."""
    return int(run("podman", "image", "inspect", "--format={{.Size}}", image))


def up(service: Service, extra: tuple[str, ...] = ()) -> None:
    run(
        *within(HOST),
        "podman",
        "run",
        "--detach",
        "--replace",
        "--pull=never",
        "--cgroups=disabled",
        *service.options,
        *extra,
        service.image,
        *service.command,
    )


def execute(container: str, *command: str) -> str:
    return run(*within(HOST), "podman", "exec", container, *command)


def logs(container: str) -> str:
    return run("podman", "logs", container)


def down(names: list[str]) -> None:
    """Containers and volumes of the names that begin so."""
    run("podman", "rm", "--force", "--time=5", "--volumes", "--ignore", *names)


def remove_volumes(prefix: str) -> None:
    for volume in run("podman", "volume", "ls", "--quiet").split():
        if volume.startswith(prefix):
            run("podman", "volume", "rm", "--force", volume)


def running(names: list[str]) -> Mapping[str, bool]:
    told = run("podman", "ps", "--format={{.Names}}").split()
    return {name: name in told for name in names}
