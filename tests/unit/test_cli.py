import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

import pytest

from server.access.access import load_access
from server.access.tokens import Grant
from server.checkup.check import Check
from server.doctor import _recogniser, examine, speed_class
from server.serve import _announce, address, listen
from server.settings import Settings
from tests.unit.enhancer_stage import ByColour


def hime(*arguments, **environment):
    command = [sys.executable, "-m", "server.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | environment)


def test_help_names_the_commands_and_loads_nothing_heavy():
    result = hime("--help")
    assert result.returncode == 0 and "serve" in result.stdout and "doctor" in result.stdout
    code = "import sys, server.cli; print([m for m in ('torch', 'av', 'fastapi', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["serve", "--port", "99999"], {}, "--port"),
        (["serve", "--port", "x"], {}, "--port"),
        (["serve", "--port", "0", "--log-level", "loud"], {}, "--log-level"),
        (["serve", "--port", "0", "--weights", "nope"], {}, "nope"),
        (["serve", "--port", "0", "--data", "/dev/null"], {}, "--data"),
        (["serve", "--device", "tpu"], {}, "--device"),
        (["serve", "--workers", "0"], {}, "--workers"),
        (["serve", "--workers", "3"], {"HIME_UDP_PORTS": "50000-50001"}, "HIME_UDP_PORTS: 3 workers need a port each"),
        (["serve"], {"HIME_VIDEO_MAX_BITRATE": "1"}, "bitrates"),
        (["serve"], {"HIME_DATABASE_URL": "nonsense"}, "HIME_DATABASE_URL"),
        (["data", "rotate"], {"HIME_DATA_KEY": "nonsense"}, "HIME_DATA_KEY: key 1 is not 32 bytes"),
        (["serve", "--bogus"], {}, "--bogus"),
        (["bogus"], {}, "bogus"),
        (["doctor"], {"HIME_PORT": "x"}, "HIME_PORT"),
        (["serve", "--port", "0"], {"HIME_REFERENCES": "4"}, "HIME_REFERENCES"),
        (["serve", "--port", "0"], {"HIME_IDENTITY_WEIGHTS": "/nowhere.pt"}, "HIME_IDENTITY_WEIGHTS"),
        (["serve", "--port", "0", "--host", "0.0.0.0"], {}, "HIME_API_KEYS"),
        (["serve", "--port", "0", "--host", "::"], {"HIME_OPEN": "0"}, "HIME_OPEN=1"),
        (["serve", "--port", "0"], {"HIME_API_KEYS": "web"}, "HIME_API_KEYS: key 1"),
        (["serve", "--port", "0"], {"HIME_API_KEYS_FILE": "/nowhere"}, "HIME_API_KEYS_FILE: /nowhere"),
        (["serve", "--port", "0"], {"HIME_OPEN": "perhaps"}, "HIME_OPEN"),
        (["key", "a b"], {}, "NAME"),
        (["key", "web", "--rights", "all"], {}, "--rights"),
        (["token", "--room", "r", "--as", "ann"], {}, "HIME_API_KEYS"),
        (["token", "--room", "r r", "--as", "ann"], {}, "--room"),
        (["token", "--room", "r", "--as", ""], {}, "--as"),
        (["token", "--room", "r", "--as", "ann", "--minutes", "0"], {}, "--minutes"),
        (["token", "--room", "r", "--as", "ann", "--link", "relay.example"], {}, "--link"),
        (["token", "--room", "r", "--as", "ann", "--key", "b"], {"HIME_API_KEYS": f"a:{'x' * 32}"}, "--key"),
        (["prove", "/nowhere", "--out", "/tmp/proof"], {}, "/nowhere"),
        (["prove", ".", "--out", "/tmp/proof", "--kbps", "x"], {}, "--kbps"),
        (["prove", ".", "--out", "/tmp/proof", "--critics", "/nowhere"], {}, "--critics"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(arguments, environment, says):
    result = hime(*arguments, **environment)
    assert result.returncode == 2
    assert says in result.stderr and result.stderr.count("\n") == 1 and result.stdout == ""


@pytest.mark.parametrize("open_to_all", [True, False])
def test_a_relay_that_is_open_to_all_is_warned_of(caplog, open_to_all):
    _announce(Settings(host="0.0.0.0", open=open_to_all), 8080, [], open_to_all)
    assert ("HIME_OPEN" in caplog.text) == open_to_all


def test_keys_and_tokens_of_the_command_line_let_in(tmp_path):
    made = hime("key", "web", "--rights", "tokens,observe")
    secret, line = made.stdout.splitlines()
    assert made.returncode == 0 and line.startswith("web:scrypt$") and line.endswith(":observe,tokens")
    assert secret not in made.stderr and secret not in line
    (tmp_path / "keys").write_text(line)
    (tmp_path / "keys").chmod(0o600)
    given = {"HIME_API_KEYS_FILE": str(tmp_path / "keys"), "HIME_DATA": str(tmp_path / "data")}
    settings = Settings(api_keys_file=given["HIME_API_KEYS_FILE"], data=tmp_path / "data")

    def token(*options):
        result = hime("token", "--room", "r", "--as", "ann", *options, **given)
        assert (result.returncode, result.stderr, result.stdout.count("\n")) == (0, "", 1)
        return result.stdout.strip()

    def verified(text):
        return load_access(settings).tokens.verify(text)

    both = verified(token())
    assert both.subject == "ann" and both.grant == Grant("r", publish=True, watch=True)
    assert both.expires == pytest.approx(time.time() + 3600, abs=60)
    assert verified(token("--publish")).grant == Grant("r", publish=True)
    assert verified(token("--watch", "--admin")).grant == Grant("r", watch=True, admin=True)
    assert verified(token("--minutes", "5", "--key", "web")).expires == pytest.approx(time.time() + 300, abs=60)
    link = token("--link", "https://relay.example.org/")
    assert link.startswith("https://relay.example.org/?room=r#token=")
    assert verified(link.partition("#token=")[2]).grant == both.grant


def test_a_port_in_use_is_one_line_and_exit_code_2():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = hime("serve", "--port", str(port))
    assert result.returncode == 2
    assert str(port) in result.stderr and result.stderr.count("\n") == 1


def test_serve_says_when_it_serves_and_stops_on_a_signal(tmp_path):
    command = [sys.executable, "-m", "server.cli", "serve", "--port", "0", "--data", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for line in process.stdout:
            # Ready, or, in a checkout without weights, the reasons why not; it serves either way.
            if found := re.search(r"HIME Relay (?:is ready|serves) on http://localhost:(\d+)", line):
                break
        with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/healthz", timeout=10) as answer:
            assert json.load(answer) == {"status": "alive"}
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert "Traceback" not in process.stdout.read()
    finally:
        process.kill()
        process.wait()


def test_addresses():
    assert address("127.0.0.1", 8080) == address("0.0.0.0", 8080) == address("::", 8080) == "http://localhost:8080"
    assert address("10.0.0.2", 80) == "http://10.0.0.2:80"
    assert address("fe80::1", 80) == "http://[fe80::1]:80"
    with listen("127.0.0.1", 0) as listener:
        assert listener.getsockname()[1] > 0


def test_doctor_examines_and_never_raises(tmp_path, monkeypatch):
    monkeypatch.setattr("server.doctor._engine", lambda settings: "12 ms")
    settings = Settings(
        data=tmp_path / "data", client=tmp_path, weights="no-such-weights", identity_weights="no-such-file"
    )
    checks = {check.name: check for check in examine(settings)}
    assert checks["VP8"].ok and checks["H264"].ok and checks["storage"].ok and checks["engine"].ok
    assert not checks["NVENC"].required
    assert not checks["weights"].ok and "no-such-weights" in checks["weights"].detail
    assert not checks["recogniser"].ok and "no-such-file" in checks["recogniser"].detail
    assert not checks["client"].ok and "make run" in checks["client"].detail
    assert all(isinstance(check, Check) and "\n" not in check.detail for check in checks.values())


def test_doctor_names_the_recogniser(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "hime_core.faces.recognisers.load_recogniser", lambda weights: asked.append(weights) or ByColour()
    )
    assert re.fullmatch(r"by colour, \d+ ms per face", _recogniser(Settings(data=tmp_path)))
    _recogniser(Settings(data=tmp_path, identity_weights="casia"))
    assert asked == [None, "casia"]


def test_doctor_holds_aiortc_and_its_kin_to_the_versions_that_were_tested(tmp_path, monkeypatch):
    from server import doctor

    root = Path(doctor.__file__).parents[1]
    declared = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    constrained = (root / "docker" / "constraints.txt").read_text().splitlines()
    for name, minor in doctor.TESTED.items():
        assert f"{name}~={minor}.0" in declared
        assert any(line.startswith(f"{name}=={minor}.") for line in constrained)
    assert doctor._webrtc().startswith("aiortc 1.")
    monkeypatch.setattr(doctor, "version", lambda name: "9.8.7" if name == "aioice" else f"{doctor.TESTED[name]}.2")
    with pytest.raises(RuntimeError, match=r"aioice is 9.8.7 and not 0.13, .*pip install 'aioice~=0.13.0'$"):
        doctor._webrtc()


def test_doctor_names_speed_classes_in_order():
    assert len({speed_class(ms) for ms in (5, 30, 100, 1000)}) == 4


def test_doctor_as_json_and_its_exit_code(tmp_path, monkeypatch, capsys):
    from server import doctor

    monkeypatch.setattr(
        doctor, "examine", lambda settings: iter([Check("a", True, "x"), Check("b", False, "y", False)])
    )
    assert doctor.run(as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    found = [Check("a", False, "x", advice="do y"), Check("b", False, "z", False), Check("c", True, "w")]
    monkeypatch.setattr(doctor, "examine", lambda settings: iter(found))
    assert doctor.run() == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["FAIL", "a", "x"], ["do", "y"], ["WARN", "b", "z"], ["OK", "c", "w"]]
