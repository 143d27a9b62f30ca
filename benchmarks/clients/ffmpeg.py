"""FFmpeg's WHIP muxer, as PyAV's wheels bring it. It has none for WHEP, and none for VP8."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.clients.check import FPS, HEIGHT, WIDTH, Seen
from benchmarks.clients.process import run
from benchmarks.shared.peers import numbered_frame

SAMPLES = 960  # 20 ms of sound
ENCODING = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "g": str(FPS)}


class FFmpeg:
    """Publishes only. FFmpeg 8.1 on GnuTLS gets a certificate of ours: its own is on the curve P-224, which OpenSSL 4
    does not have in TLS, and where RFC 8827, section 6.5, asks for P-256."""

    name = "FFmpeg"
    publishes = ("H264",)
    watches = ()

    def missing(self) -> str:
        return "" if "whip" in av.formats_available else "FFmpeg: a PyAV (av) with FFmpeg 8 or later"

    def version(self) -> str:
        return str(av.ffmpeg_version_info)

    async def publish(self, url: str, codec: str, over: asyncio.Event) -> None:
        # A process of its own: PyAV holds the interpreter while the muxer waits for its answer.
        await run([sys.executable, "-m", "benchmarks.clients.ffmpeg", url], over)

    async def watch(self, url: str, codec: str, seen: Seen, over: asyncio.Event) -> None:
        raise NotImplementedError("FFmpeg has no WHEP")


def send(url: str) -> None:
    """Until standard input ends."""
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = write_certificate(Path(folder))
        options = {"cert_file": str(certificate), "key_file": str(key)}
        with av.open(url, "w", format="whip", options=options) as out:
            video = out.add_stream("libx264", rate=FPS, options=ENCODING)
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            audio = out.add_stream("libopus", rate=48000, layout="stereo")
            began, number, samples = time.monotonic(), 0, 0
            while not stop.is_set():
                frame = numbered_frame(number, WIDTH, HEIGHT)
                frame.pts, frame.time_base = number, Fraction(1, FPS)
                out.mux(video.encode(frame))
                number += 1
                while samples < number * 48000 // FPS:
                    wave = 8000 * np.sin(2 * np.pi * 440 * (samples + np.arange(SAMPLES)) / 48000)
                    sound = av.AudioFrame.from_ndarray(wave.astype(np.int16).repeat(2)[None, :], "s16", "stereo")
                    sound.sample_rate, sound.pts = 48000, samples
                    out.mux(audio.encode(sound))
                    samples += SAMPLES
                time.sleep(max(0.0, began + number / FPS - time.monotonic()))


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate on P-256, and its key, as PEM files."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whip")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(pem))
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(pem, form, plain))
    return paths


if __name__ == "__main__":
    send(sys.argv[1])
