"""docker/ agrees with itself, with the relay's figures, and with what docs/self-hosting.md says."""

from __future__ import annotations

import json
import re
import runpy
from typing import Any

import pytest
import yaml

from benchmarks.hosting import backup, compose
from benchmarks.hosting.compose import DOCKER
from benchmarks.hosting.files import plain_resources
from benchmarks.hosting.network import TCP, UDP
from server.observability.metrics import Metrics
from server.settings import Settings

ROOT = DOCKER.parent
VARIABLES = {"HIME_SITE": "hime.lan", "HIME_TLS": "internal", "HIME_ADDRESS": "192.0.2.1", "HIME_TURN_SECRET": "secret"}
NOT_OURS = ("process_", "node_", "up")


@pytest.fixture(scope="module")
def composition() -> dict[str, Any]:
    return compose.load(DOCKER / "compose.yaml", VARIABLES)


def _names(expression: str) -> set[str]:
    """Of the metrics that a PromQL expression reads."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\bby\s*\([^)]*\)|\"[^\"]*\"", "", expression)
    return {name for name in re.findall(r"\b(?:hime|process|node)_\w+|\bup\b", bare)}


def _exposed() -> set[str]:
    """Metrics without a series yet count, too: what is behind TYPE, with the suffixes that Prometheus knows it by."""
    told = Metrics().exposition().decode()
    found = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", told, re.MULTILINE):
        found |= {f"{name}{suffix}" for suffix in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    return found


def _expressions() -> dict[str, str]:
    dashboard = json.loads((DOCKER / "grafana/dashboards/hime.json").read_text())
    rules = yaml.safe_load((DOCKER / "prometheus/alerts.yml").read_text())
    found = {
        f"{panel['title']} {i}": one["expr"] for panel in dashboard["panels"] for i, one in enumerate(panel["targets"])
    }
    return found | {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}


@pytest.mark.parametrize(("name", "expression"), _expressions().items())
def test_what_is_asked_of_prometheus_is_what_the_relay_tells(name, expression):
    asked = _names(expression)
    assert asked
    assert {one for one in asked if not one.startswith(NOT_OURS)} <= _exposed()


def test_the_dashboards_data_source_is_the_provisioned_one():
    dashboard = json.loads((DOCKER / "grafana/dashboards/hime.json").read_text())
    sources = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yaml").read_text())
    (source,) = sources["datasources"]
    used = [panel["datasource"] for panel in dashboard["panels"]]
    used += [target["datasource"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert all(one == {"type": source["type"], "uid": source["uid"]} for one in used)


def test_panels_do_not_overlap_and_have_names_of_their_own():
    panels = json.loads((DOCKER / "grafana/dashboards/hime.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24
        taken |= cells


def test_the_dashboard_is_made_of_the_relays_own_panels():
    script = runpy.run_path(str(DOCKER / "grafana/dashboard.py"))
    made = script["made"]()
    assert (DOCKER / "grafana/dashboards/hime.json").read_text() == made, "run python docker/grafana/dashboard.py"


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_every_service_of_a_profile_can_be_run(composition, profile):
    services = {service.name: service for service in compose.services(composition, profile, DOCKER)}
    assert {"caddy", "turn", "database", "prometheus", "grafana"} < set(services)
    relays = {name for name in services if name.startswith("relay")}
    assert relays == {"relay" if profile == "cpu" else "relay-gpu"}
    (relay,) = (services[name] for name in relays)
    assert {"--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host"} <= set(relay.options)


def test_a_setting_that_is_missing_is_named():
    with pytest.raises(KeyError, match=r"HIME_ADDRESS: see \.env\.example"):
        compose.load(DOCKER / "compose.yaml", {**VARIABLES, "HIME_ADDRESS": ""})


def test_the_example_has_five_settings_and_they_are_those_that_are_asked_for():
    example = dict(re.findall(r"^(\w+)=(.*)$", (DOCKER / ".env.example").read_text(), re.MULTILINE))
    asked = {name for name, kind, _ in compose.VARIABLE.findall((DOCKER / "compose.yaml").read_text()) if kind == ":?"}
    assert len(example) == 5
    assert asked | {"COMPOSE_PROFILES"} == set(example)


def test_what_services_mount_is_there(composition):
    secrets = (DOCKER / "secrets.sh").read_text()
    for service in composition["services"].values():
        for volume in service.get("volumes", []):
            if isinstance(volume, str) and volume.startswith("."):
                assert (DOCKER / volume.split(":")[0]).exists(), volume
        for name in service.get("secrets", []):
            assert f"keep {name} " in secrets, f"secrets.sh makes no {name}"


def test_a_key_that_the_runner_does_not_know_is_an_error(composition):
    service = {**composition["services"]["caddy"], "privileged": True}
    with pytest.raises(ValueError, match="privileged"):
        compose.services({**composition, "services": {"caddy": service}}, "cpu", DOCKER)


def test_the_ports_in_the_document_are_those_that_the_firewall_of_the_benchmark_opens():
    section = (ROOT / "docs/self-hosting.md").read_text().split("## Firewall")[1].split("##")[0]
    rows = re.findall(r"^\| (\d+/[^|]*) \|", section, re.MULTILINE)
    said = {tuple(port.strip().split("/")) for row in rows for port in row.split(",")}
    assert said == {(str(port), "tcp") for port in TCP} | {(str(port), "udp") for port in UDP}


def test_those_ports_are_the_services(composition):
    turn = (DOCKER / "coturn/turnserver.conf").read_text()
    assert "listening-port=3478\n" in turn and "tls-listening-port=5349\n" in turn
    assert composition["services"]["relay"]["environment"]["HIME_UDP_PORTS"] == 50000


def test_the_image_is_built_with_what_constraints_name():
    lines = (DOCKER / "constraints.txt").read_text().splitlines()
    named = {re.split(r"==", line)[0].lower().replace("_", "-") for line in lines if "==" in line}
    needed = re.findall(
        r'^  "([\w-]+)[~>=]', (ROOT / "pyproject.toml").read_text().split("[project.optional")[0], re.MULTILINE
    )
    assert {name.lower() for name in needed} <= named


def test_the_document_has_the_backups_own_commands():
    document = (ROOT / "docs/self-hosting.md").read_text()
    assert f"database {' '.join(backup.DUMP)} >" in document
    assert f"database {' '.join(backup.RESTORE)} <" in document


@pytest.fixture(scope="module")
def cluster() -> list[dict[str, Any]]:
    documents = yaml.safe_load_all((DOCKER / "kubernetes/cluster.yaml").read_text())
    return [one for document in documents for one in plain_resources(document)]


def _containers(resources: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    pods = [one for one in resources if one["kind"] == "Pod"]
    return {one["name"]: {**one, "pod": pod["spec"]} for pod in pods for one in pod["spec"]["containers"]}


def test_the_clusters_settings_are_settings_and_a_node_can_be_made_of_them(cluster, monkeypatch):
    (given,) = (one["data"] for one in cluster if one["kind"] == "ConfigMap")
    relay = _containers(cluster)["relay"]
    env = {one["name"]: one.get("value", "") for one in relay["env"]}
    ours = {name: value for name, value in {**env, **given}.items() if name.startswith("HIME_")}
    assert {name.removeprefix("HIME_").lower() for name in ours} <= set(Settings.model_fields)
    secrets = {"DATABASE_URL": "postgresql+psycopg://h@p/h", "PHOTOS_URL": "s3://bucket/photos"}
    for name, value in {**ours, "HIME_ANNOUNCED_ADDRESS": "192.0.2.1"}.items():
        monkeypatch.setenv(name, value or secrets.get(name.removeprefix("HIME_"), "x"))
    monkeypatch.setenv("HIME_PUBLIC_URL", ours["HIME_PUBLIC_URL"].replace("$(NODE_NAME)", "node-1"))
    settings = Settings()
    assert settings.cluster and settings.ports == (30500, 30500)


def test_every_relay_of_the_cluster_is_given_the_same_keys_and_storage(cluster):
    relay = _containers(cluster)["relay"]
    secret = {one["name"] for one in relay["env"] if "secretKeyRef" in one.get("valueFrom", {})}
    assert {"HIME_TOKEN_SECRET", "HIME_DATABASE_URL", "HIME_PHOTOS_URL", "RAY_AUTH_TOKEN"} <= secret
    mounts = {one["mountPath"] for one in relay["volumeMounts"]}
    assert {"/tmp/ray", "/run/secrets/hime"} <= mounts
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(relay)
    assert relay["pod"]["hostNetwork"] and "podAntiAffinity" in relay["pod"]["affinity"]


def test_every_volume_that_the_cluster_mounts_is_there_and_ray_asks_for_a_token(cluster):
    containers = _containers(cluster)
    assert set(containers) == {"ray-head", "ray-worker", "relay", "https"}
    for one in containers.values():
        volumes = {volume["name"] for volume in one["pod"].get("volumes", ())}
        assert {mount["name"] for mount in one.get("volumeMounts", ())} <= volumes
        assert one["securityContext"]["allowPrivilegeEscalation"] is False
    for name in ("ray-head", "ray-worker"):
        given = {one["name"]: one.get("value") for one in containers[name]["env"]}
        assert given["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN" in given
        assert {"readinessProbe", "livenessProbe"} <= set(containers[name])
