"""The relay's image, built by the Dockerfile, and Debian's packages in place of the images of others."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from urllib.parse import quote

from benchmarks.hosting import podman
from benchmarks.hosting.shell import run

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent
STANDINS = {
    "python": "docker.io/library/python:3.12-slim-bookworm",
    "node": "docker.io/library/node:22-bookworm-slim",
    "caddy": "docker.io/library/caddy:2.11.4-alpine",
    "coturn": "docker.io/coturn/coturn:4.6.3",
    "postgres": "docker.io/library/postgres:17-bookworm",
    "prometheus": "docker.io/prom/prometheus:v3.5.0",
    "node-exporter": "docker.io/prom/node-exporter:v1.9.1",
}
RELAY = "hime-relay:cpu"


def build_standins(work: Path) -> None:
    """From a root that debootstrap makes once, with this machine's way to the packages."""
    root = work / "debian"
    if not (root / "etc/debian_version").exists():
        run("debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", root)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs/ca-certificates.crt")
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    (root / "etc/pip.conf").write_text("[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n")
    if "debian:standin" not in run("podman", "images", "--format={{.Repository}}:{{.Tag}}"):
        archive = work / "debian.tar"
        aside = ("--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*")
        run("tar", "--create", "--file", archive, "--directory", root, *aside, ".")
        run("podman", "import", archive, "docker.io/library/debian:standin")
        archive.unlink()
    for target, image in STANDINS.items():
        podman.build(FOLDER, image, f"--target={target}", f"--file={FOLDER / 'standins.Dockerfile'}")


def build_relay(work: Path, torch_index: str, wheels: Path | None) -> int:
    """The image's bytes. wheels: a folder with torch's and torchvision's, in place of the index, whose versions then
    count; it must hold one of each."""
    context = work / "context"
    shutil.rmtree(context, ignore_errors=True)
    ignored = shutil.ignore_patterns("node_modules", "dist", "__pycache__")
    for name in ("hime_core", "server", "client_web"):
        shutil.copytree(ROOT / name, context / name, ignore=ignored)
    (context / "docker").mkdir()
    for name in (".dockerignore", "Dockerfile", "pyproject.toml", "README.md", "LICENSE", "docker/constraints.txt"):
        shutil.copy(ROOT / name, context / name)
    options: list[str] = []
    if wheels is not None:
        torch_index = "file:///wheels"
        options = [f"--volume={_index(work / 'index', wheels, context / 'docker/constraints.txt')}:/wheels:ro"]
    podman.build(context, f"localhost/{RELAY}", f"--build-arg=TORCH_INDEX={torch_index}", *options)
    return podman.size(RELAY)


def _index(folder: Path, wheels: Path, constraints: Path) -> Path:
    """Lays the wheels out as pip wants an index to be, and takes their versions into the constraints."""
    shutil.rmtree(folder, ignore_errors=True)
    text = constraints.read_text()
    for name in ("torch", "torchvision"):
        (wheel,) = wheels.glob(f"{name}-*.whl")
        (folder / name).mkdir(parents=True)
        shutil.copy(wheel, folder / name)
        (folder / name / "index.html").write_text(f'<a href="{quote(wheel.name)}">{wheel.name}</a>\n')
        version = wheel.name.split("-")[1].partition("+")[0]
        text = re.sub(rf"^{name}==.*$", f"{name}=={version}", text, flags=re.MULTILINE)
    constraints.write_text(text)
    return folder
