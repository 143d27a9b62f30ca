"""The services of docker/compose.yaml, running."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.hosting import compose, podman
from benchmarks.hosting.compose import Service
from benchmarks.hosting.network import HOST, HOST_ADDRESS, within
from benchmarks.hosting.shell import Failed, run

SITE = "hime.lan"
# Neither Debian nor a package registry has it.
MISSING = {"grafana"}
PATIENCE = 120.0  # seconds for a service to answer


@dataclass(frozen=True)
class Stack:
    """folder: the copy of docker/ that runs; variables: of its .env; services: those that can be had here."""

    folder: Path
    variables: dict[str, str]
    services: list[Service]

    @property
    def names(self) -> list[str]:
        """Of the containers."""
        return [f"hime-{service.name}" for service in self.services]

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text().strip()

    def fetch(self, url: str, *options: str) -> str:
        """By curl, on the host itself."""
        return run(*within(HOST), "curl", "--silent", "--show-error", "--max-time", "20", *options, url)


def prepare(work: Path) -> Stack:
    """What docs/self-hosting.md has one do before the start: .env and secrets.sh."""
    folder = work / "docker"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(compose.DOCKER, folder)
    text = (folder / ".env.example").read_text()
    (folder / ".env").write_text(text.replace("HIME_ADDRESS=192.168.1.10", f"HIME_ADDRESS={HOST_ADDRESS}"))
    run("sh", folder / "secrets.sh")
    variables = dict(re.findall(r"^(\w+)=(.*)$", (folder / ".env").read_text(), re.MULTILINE))
    composition = compose.load(folder / "compose.yaml", variables)
    chosen = compose.services(composition, variables["COMPOSE_PROFILES"], folder)
    return Stack(folder, variables, [service for service in chosen if service.name not in MISSING])


def up(stack: Stack, site_packages: Path | None) -> None:
    """Starts all services. site_packages: a folder whose torch the relay's container takes."""
    podman.down(stack.names)
    podman.remove_volumes("hime-")
    for service, name in zip(stack.services, stack.names, strict=True):
        extra = [f"--add-host={SITE}:{HOST_ADDRESS}"] if "--network=host" in service.options else []
        if service.name == "relay":
            extra += _torch(site_packages)
        podman.up(service, tuple(extra))
        if service.healthcheck:
            waited_for(service.name, partial(podman.execute, name, *service.healthcheck), 30)


def waited_for(what: str, attempt: Any, patience: float = PATIENCE) -> Any:
    """The attempt's result once it succeeds. Raises TimeoutError with the last error."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return attempt()
        except (Failed, AssertionError, LookupError, ValueError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: {error}") from error
            time.sleep(1)


def ready(stack: Stack) -> dict[str, Any]:
    def ask() -> dict[str, Any]:
        if not podman.running(["hime-relay"])["hime-relay"]:
            raise RuntimeError(f"the relay ended: {podman.logs('hime-relay').splitlines()[-1:]}")
        answer: dict[str, Any] = json.loads(stack.fetch("http://127.0.0.1:8080/readyz"))
        assert answer["status"] == "ready", answer
        return answer

    told: dict[str, Any] = waited_for("the relay", ask)
    return told


def root_certificate(stack: Stack, file: Path) -> Path:
    """Of Caddy's own CA, taken out of its container as the document says."""
    run("podman", "cp", "hime-caddy:/data/caddy/pki/authorities/local/root.crt", file)
    return file


def ice_servers(stack: Stack, minutes: int = 10) -> list[dict[str, Any]]:
    """As the relay makes them (draft-uberti-behave-turn-rest-00), for a relay that does not yet."""
    composition = compose.load(stack.folder / "compose.yaml", stack.variables)
    servers = json.loads(composition["services"]["relay"]["environment"]["HIME_ICE_SERVERS"])
    username = f"{int(time.time()) + 60 * minutes}:benchmark"
    digest = hmac.new(stack.variables["HIME_TURN_SECRET"].encode(), username.encode(), hashlib.sha1).digest()
    made = {"username": username, "credential": base64.b64encode(digest).decode()}
    return [{**server, **made} for server in servers]


def token(stack: Stack, room: str, name: str) -> str:
    """For a relay that asks for one; else empty."""
    if "/api/tokens" not in json.loads(stack.fetch("http://127.0.0.1:8080/openapi.json"))["paths"]:
        return ""
    key = stack.secret("api-keys").splitlines()[0]
    body = json.dumps({"room": room, "name": name, "publish": True, "watch": True})
    headers = ("--header", f"Authorization: Bearer {key}", "--header", "Content-Type: application/json")
    made = json.loads(stack.fetch("http://127.0.0.1:8080/api/tokens", *headers, "--data", body))
    return str(made["token"])


def _torch(site_packages: Path | None) -> list[str]:
    """Volumes that put another torch in the place of the image's."""
    if site_packages is None:
        return []
    inside = "/opt/hime/lib/python3.11/site-packages"
    names = ("torch", "torchgen", "functorch", "torchvision", "torchvision.libs", "nvidia", "triton")
    found = [name for name in names if (site_packages / name).is_dir()]
    return [f"--volume={site_packages / name}:{inside}/{name}:ro" for name in found]
