"""The metrics of several processes as those of one, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from prometheus_client import Metric
from prometheus_client import generate_latest as exposition
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

# Gauges that are no sums: the same for all, or the front's to say.
LARGEST = frozenset(
    {"hime_gpu_share", "hime_late_share", "hime_processor_stalled_share", "hime_event_loop_lag_seconds"}
)
FIRST = frozenset({"hime_ready", "process_start_time_seconds", "process_max_fds"})

Series = tuple[str, tuple[tuple[str, str], ...]]  # a sample's name and labels


class Merged(Collector):
    """Sums of counters, of histograms and of gauges, but for those above.

    What ended processes have counted stays in the sums, as they were read last, and so does what one counted that does
    not answer: a sum that fell would be taken for a restart of all.
    """

    def __init__(self) -> None:
        self._last: dict[Hashable, dict[Series, float]] = {}  # of those that run: their counts
        self._gone: dict[Series, float] = {}
        self._families: list[Metric] = []

    def merge(self, texts: Mapping[Hashable, str]) -> bytes:
        """texts: by process, which gone() names, of those that have answered and not gone; the front's own is the
        first."""
        families: dict[str, Metric] = {}
        values: dict[Series, float] = dict(self._gone)
        for process, text in texts.items():
            counts: dict[Series, float] = {}
            for family in text_string_to_metric_families(text):
                families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    series = sample.name, tuple(sorted(sample.labels.items()))
                    values[series] = _together(family.name, values.get(series), sample.value)
                    if family.type != "gauge":
                        counts[series] = sample.value
            self._last[process] = counts
        for process in self._last.keys() - texts.keys():
            _add(values, self._last[process])
        self._families = _filled(families, values)
        return exposition(self)

    def collect(self) -> Iterable[Metric]:
        return self._families

    def gone(self, process: Hashable) -> None:
        """It has ended; another one of that name counts from 0."""
        _add(self._gone, self._last.pop(process, {}))


def _add(sums: dict[Series, float], counts: Mapping[Series, float]) -> None:
    for series, value in counts.items():
        sums[series] = sums.get(series, 0.0) + value


def _together(family: str, before: float | None, value: float) -> float:
    if before is None:
        return value
    if family in FIRST:
        return before
    return max(before, value) if family in LARGEST else before + value


def _filled(families: Mapping[str, Metric], values: Mapping[Series, float]) -> list[Metric]:
    """The values in their families; a sample's name begins with its family's."""
    for (name, labels), value in values.items():
        family: Any = next((families[each] for each in _names(name) if each in families), None)
        if family is not None:
            family.add_sample(name, dict(labels), value)
    return list(families.values())


def _names(sample: str) -> Iterable[str]:
    yield sample
    for ending in ("_total", "_bucket", "_sum", "_count"):
        if sample.endswith(ending):
            yield sample.removesuffix(ending)
