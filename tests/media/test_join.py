"""`hime join`: a client of our own that is no browser."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import jwt
import numpy as np
import pytest

from benchmarks.shared.peers import MovingVideo, number_of, numbered_frame, serving, until
from hime_core.errors import InputError
from server.client.clip import Clip
from server.client.join import JoinOptions, _join
from server.client.link import parse_link
from server.client.peer import Refused, ice_servers

FPS = 20


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of numbered pictures with a tone."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=FPS, options={"crf": "10", "g": "20"})
        video.width, video.height, video.pix_fmt = 160, 90, "yuv420p"
        audio = out.add_stream("aac", rate=48000, layout="mono")
        for number in range(2 * FPS):
            frame = numbered_frame(number)
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(video.encode(frame))
        out.mux(video.encode())
        for at in range(0, 96000, 1024):
            wave = 8000 * np.sin(2 * np.pi * 440 * np.arange(at, at + 1024) / 48000)
            sound = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None, :], "s16", "mono")
            sound.sample_rate, sound.pts = 48000, at
            out.mux(audio.encode(sound))
        out.mux(audio.encode())
    return path


async def test_it_sends_a_clip_and_records_whom_it_watches(clip: Path, tmp_path: Path) -> None:
    record = tmp_path / "seen.mp4"
    async with serving() as relay:
        await relay.peer().publish("/whip/r/bob", MovingVideo())
        await until(lambda: relay.rooms.get("r").participants["bob"].joined)
        link = parse_link(str(relay.http.base_url), "r", "ann")
        joining = asyncio.create_task(_join(JoinOptions(link, clip, record, view="original", layout="native")))
        await until(lambda: "ann" in relay.rooms.get("r").participants)
        watcher = await relay.peer().watch("/whep/r/ann?view=original&layout=native")
        told = await joining
        assert told["frames_sent"] == 2 * FPS and told["size"] == "320x180"
        assert len(watcher.frames) > FPS and len(watcher.audio) > 30
        await until(lambda: "ann" not in relay.rooms.get("r").participants)
    with av.open(str(record)) as recorded:
        numbers = [number_of(frame) for frame in recorded.decode(video=0)]
    assert len(numbers) > FPS and numbers == sorted(numbers)


async def test_alone_it_records_its_own_picture_as_the_relay_sends_it(clip: Path, tmp_path: Path) -> None:
    record = tmp_path / "own.mkv"
    async with serving() as relay:
        link = parse_link(f"{relay.http.base_url}?room=r&name=ann")
        told = await _join(JoinOptions(link, clip, record, loop=True, seconds=8.0, layout="native"))
    assert told["frames_sent"] > 2.5 * FPS and told["recorded"] == str(record)
    with av.open(str(record)) as recorded:
        times = [frame.time for frame in recorded.decode(video=0)]
    assert len(times) > 2 * FPS and max(b - a for a, b in pairwise(times)) < 1.0


async def test_a_clip_that_begins_again_goes_on_in_time(clip: Path) -> None:
    player = Clip(clip, loop=True)
    video = next(track for track in player.tracks if track.kind == "video")
    times = [(await video.recv()).time for _ in range(2 * FPS + 5)]
    await asyncio.to_thread(player.close)
    assert times == pytest.approx([number / FPS for number in range(len(times))], abs=0.01)


async def test_what_the_relay_refuses_is_said_in_its_words(clip: Path) -> None:
    async with serving(udp_ports="39970-39970") as relay:
        base = str(relay.http.base_url)
        with pytest.raises(Refused, match="does not answer"):
            await _join(JoinOptions(parse_link("http://127.0.0.1:9", "r", "ann"), clip))
        with pytest.raises(Refused, match=r"refused \(40\d\): "):
            await _join(JoinOptions(parse_link(base, "r", "ann"), clip, watch="ann", view="sideways"))


def test_links() -> None:
    token = jwt.encode({"sub": "ann", "video": {"room": "r"}}, "a secret that nobody checks here" * 2, "HS256")
    link = parse_link(f"https://relay.example/?room=r#token={token}")
    assert (link.base, link.room, link.name) == ("https://relay.example", "r", "ann")
    assert link.headers == {"Authorization": f"Bearer {token}"}
    assert parse_link("localhost:8080", "r", "bob").base == "http://localhost:8080"
    assert parse_link("http://h/?room=r&name=ann", "s", "bob").room == "s"
    for url, says in (("ftp://h", "address"), ("http://h/?room=r", "--name"), ("http://h/?room=a b&name=x", "--room")):
        with pytest.raises(InputError, match=says):
            parse_link(url)
    with pytest.raises(InputError, match="token"):
        parse_link("http://h/?room=r#token=nonsense")


def test_ice_servers_of_link_headers() -> None:
    turn = '<turn:t.example?transport=udp>; rel="ice-server"; username="u"; credential="c"'
    one, two = ice_servers([f'{turn}, <stun:s>; rel="ice-server"'])
    assert (one.urls, one.username, one.credential) == ("turn:t.example?transport=udp", "u", "c")
    assert two.urls == "stun:s" and two.username is None
    assert ice_servers(['<https://elsewhere>; rel="next"']) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--room", "r", "--name", "ann"], "--publish"),
        (["--room", "r", "--name", "ann", "--publish", "/nowhere.mp4"], "/nowhere.mp4"),
        (["--room", "r", "--name", "ann", "--record", "seen.txt"], "seen.txt"),
        (["--name", "ann", "--record", "seen.mp4"], "--room"),
        (["--room", "r", "--name", "ann", "--record", "seen.mp4"], "does not answer"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(arguments: list[str], says: str) -> None:
    command = [sys.executable, "-m", "server.cli", "join", "http://127.0.0.1:9", *arguments, "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2 and says in result.stderr and result.stderr.count("\n") == 1, result.stderr
    with pytest.raises(json.JSONDecodeError):
        json.loads(result.stdout)
