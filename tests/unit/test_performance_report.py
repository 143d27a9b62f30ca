"""docs/performance.md is made of what the benchmarks wrote, and of nothing else."""

import json

from benchmarks.calls.performance_report import report

MACHINE = {"cpu": "abacus", "cores": 2, "gpu": "beads", "memory_gib": 1, "system": "Linux", "load": 0, "versions": {}}
BATCH = {"lr": 32, "refs": 3, "batch": 4, "ms": 1.29, "faces_per_s": 3101.4, "tflops": 7.5, "share": 0.0095}
LOAD = {"calls": 16, "offered_per_s": 240.0, "p50": 16.1, "p95": 31.5, "refused": 0.0, "batch": 1.1, "behind": 3.5}


def engine_load(**changes: object) -> str:
    options = {"device": "cuda", "weights": "small-x4-call", "rounds": 10, "json": "/home/somebody/out.json"}
    found = {"machine": MACHINE, "options": options, "peak_tflops": 790.0, "memory_mib": 512.0}
    return json.dumps({**found, "batches": [BATCH], "loads": [LOAD], **changes})


def test_the_engines_load_is_shown_with_its_command_and_machine(tmp_path):
    (tmp_path / "engine_load_gpu.json").write_text(engine_load())
    text = report(tmp_path)
    assert "## The engine under load" in text
    assert (
        "`python -m benchmarks.network.engine_load --device cuda --weights small-x4-call --rounds 10 --json OUT.json`"
        in text
    )
    assert "abacus, 2 cores, beads" in text and "somebody" not in text
    assert "790 TFLOP/s; memory held at most: 512 MiB" in text
    assert "| 32 | 3 | 4 | 1.29 | 3101 | 7.50 | 0.95 |" in text
    assert "| 16 | 240.00 | 16.10 | 31.50 | 0.00 | 1.10 |" in text


def test_calls_that_a_relay_holds_are_told_by_view_and_step(tmp_path):
    step = {"calls": 3, "p50": 9.5, "p95": 20.0, "came": 1.0, "freezes": 0.25, "relay_cores": 0.5}
    step |= {"calls_per_core": 6.0, "load_cores": 0.04, "enhanced": 0.0}
    views = {"passthrough 320x180": {"steps": [step | {"held": True}], "held": 3, "calls_per_core": 6.0}}
    views["passthrough 320x180"]["all_steps_held"] = True
    options = {"views": "passthrough", "relay_cores": "0", "before": False, "weights": None}
    (tmp_path / "many_calls.json").write_text(json.dumps({"machine": MACHINE, "options": options, "views": views}))
    text = report(tmp_path)
    assert "`python -m benchmarks.calls.many_calls --views passthrough --relay-cores 0 --json OUT.json`" in text
    assert "| passthrough 320x180 | 3 or more | 6.0 |" in text
    assert "| 3 | 9.50 | 20.00 | 1.00 | 0.25 | 0.50 | 6.00 | 0.04 | 0.00 | yes |" in text


def test_a_note_stands_above_its_figures(tmp_path):
    (tmp_path / "engine_load.json").write_text(engine_load(note="Beside a training."))
    before, after = report(tmp_path).split("Beside a training.")
    assert "benchmarks.network.engine_load" in before and "| 240.00 |" in after


def test_a_processor_has_no_share_of_a_card(tmp_path):
    batch = {**BATCH, "share": None}
    (tmp_path / "engine_load.json").write_text(engine_load(peak_tflops=None, memory_mib=None, batches=[batch]))
    text = report(tmp_path)
    assert "TFLOP/s;" not in text and "| 7.50 | – |" in text


def test_what_is_absent_or_damaged_is_left_out(tmp_path, capsys):
    (tmp_path / "latency.json").write_text("{}")
    assert "## " not in report(tmp_path)
    assert "latency.json is left out" in capsys.readouterr().err


def test_glass_to_glass_is_shown_by_way(tmp_path):
    way = {"p50": 44.5, "p95": 74.4, "sender": 4.1, "relay": 10.9, "receiver": 29.7, "judder": 4.1, "shown_s": 20.2}
    way |= {"thirds": [45, 44, 44], "stats": {"jitter_buffer": 0.8, "decode": 3.6, "av_ms": -82.0}, "stages": {}}
    goal = {"goal": "180p original: median above plain aiortc's at most 0 ms", "value": -51.2, "met": True}
    found = {"machine": MACHINE, "options": {"seconds": 20.0}, "ways": {"180p original": way}, "goals": [goal]}
    (tmp_path / "glass.json").write_text(json.dumps(found))
    text = report(tmp_path)
    assert "`python -m benchmarks.glass --seconds 20.0 --json OUT.json`" in text
    assert "| 180p original | 44.5 | 74.4 | 4.1 | 10.9 | 29.7 | 4.1 | 20.2 |" in text
    assert "| 45, 44, 44 | 0.8 | 3.6 | -82.0 | – |" in text
    assert "| -51.20 | yes |" in text
