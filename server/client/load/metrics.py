"""What a relay tells of itself in Prometheus' format, where it does: processor time, and what became of frames."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

OUTCOMES = ("enhanced", "carried", "passed", "dropped")


@dataclass(frozen=True)
class RelayCounts:
    """cpu_seconds: since its start, None where it does not say; frames: by outcome, empty where it is no HIME Relay."""

    cpu_seconds: float | None
    frames: dict[str, float]


async def relay_counts(http: httpx.AsyncClient, headers: dict[str, str]) -> RelayCounts | None:
    """None where no metrics are served to us."""
    cpu: float | None = None
    frames: dict[str, float] = {}
    try:
        answer = await http.get("/metrics", headers=headers)
        if answer.status_code != 200:
            return None
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                if sample.name == "process_cpu_seconds_total":
                    cpu = (cpu or 0.0) + sample.value
                elif sample.name == "hime_frames_total":
                    frames[sample.labels.get("outcome", "")] = sample.value
    except (httpx.HTTPError, ValueError, KeyError):
        return None
    if cpu is None and not frames:
        return None
    return RelayCounts(cpu, {name: frames.get(name, 0.0) for name in OUTCOMES} if frames else {})
