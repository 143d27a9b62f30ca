"""The script for machines with a graphics card runs, with small numbers, where there is none."""

import json
import sys

import pytest

from benchmarks.network import gpu

RUN = ["gpu", "--device", "cpu", "--weights", "tiny-x4-call", "--rates", "15", "--batches", "1,2", "--seconds", "0.3"]


def test_its_parts_are_measured_and_written(tmp_path, monkeypatch, capsys):
    parts = ("warm_up", "equal", "batches", "host", "engine", "engine_host", "composition")
    monkeypatch.setattr(sys, "argv", [*RUN, "--only", ",".join(parts), "--json", str(tmp_path / "out.json")])
    monkeypatch.setattr(gpu, "WARM_UP", {"cpu": 0.1})
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert [row["batch"] for row in found["batches"]] == [row["batch"] for row in found["host"]] == [1, 2]
    assert found["equal"][0]["references"] < 2 and found["equal"][0]["faces"] < 2
    assert {"batch", "wait_ms", "p95", "refused"} <= set(found["engine"][0])
    said = capsys.readouterr().out
    assert all(f"\n{part}\n" in said for part in parts)


def test_a_part_that_fails_leaves_the_others(tmp_path, monkeypatch):
    def broken():
        raise RuntimeError("no such thing")

    monkeypatch.setattr(gpu, "composition", broken)
    monkeypatch.setattr(sys, "argv", [*RUN, "--only", "composition,host", "--json", str(tmp_path / "out.json")])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 1
    found = json.loads((tmp_path / "out.json").read_text())
    assert "no such thing" in found["composition"]["error"] and len(found["host"]) == 2
