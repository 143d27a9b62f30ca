"""Enhanced against original through the relay and its encoder, for people in real clips.

    python -m benchmarks.calls.clips_through_relay CLIPS_DIR [--only NAMES] [--pictures DIR]

Each clip plays in a 320x180 call: the person close at first (headshot 150 px, turned, relit, noisy), then far (31 px).
PSNR is taken in the face of the received 1280x720 views against the sharp clip at that size. Clips whose headshot is
smaller than 150 px are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

import cv2
import numpy as np

from benchmarks.shared.peers import Peer, until
from benchmarks.shared.people import person_of
from benchmarks.shared.portrait import Person, Portrait, face_region, truth
from hime_core.faces.detector import MtcnnDetector
from tests.media.test_enhanced_call import FAR, Watcher, counts, outcomes, psnr, relay_of

FAR_FRAMES = 80


async def measure(person: Person, data: Path) -> tuple[Watcher, Watcher, dict, dict]:
    async with relay_of(data) as (relay, http):
        portrait = Portrait(frames=FAR + FAR_FRAMES + 40, person=person)
        publisher, enhanced, plain = Peer(http), Watcher(http), Watcher(http)
        await publisher.publish("/whip/r/ann", portrait)
        await until(lambda: relay.rooms.get("r").participants["ann"].joined, 60)
        await enhanced.watch("/whep/r/ann?view=enhanced&layout=upscale", ("video",))
        await plain.watch("/whep/r/ann?view=original&layout=upscale", ("video",))
        await until(lambda: portrait.number > FAR + FAR_FRAMES, 60)
        for peer in (publisher, enhanced, plain):
            await peer.close()
        return enhanced, plain, outcomes(relay), counts(relay, "hime_bypass_total", "reason")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--only", help="clips whose names begin so, with commas between")
    parser.add_argument("--pictures", type=Path, help="folder for plain, enhanced and true faces side by side")
    options = parser.parse_args()
    detector, gains = MtcnnDetector(), []
    for path in sorted(p for p in options.clips.iterdir() if p.suffix in (".mp4", ".mov", ".mkv")):
        if options.only and not path.name.startswith(tuple(options.only.split(","))):
            continue
        person = person_of(path, detector)
        if person is None:
            continue
        with tempfile.TemporaryDirectory() as data:
            enhanced, plain, counted, bypassed = asyncio.run(measure(person, Path(data)))
        common = [n for n in sorted(set(enhanced.faces) & set(plain.faces)) if n < FAR + FAR_FRAMES + 40][10:]
        if not common:
            print(f"{path.stem:20} no frame arrived in both views")
            continue
        wanted = {n: truth(n, person=person)[face_region(n)] for n in common}
        pairs = [(psnr(plain.faces[n], wanted[n]), psnr(enhanced.faces[n], wanted[n])) for n in common]
        before, after = np.mean(pairs, axis=0)
        gains.append(after - before)
        reasons = {reason: count for reason, count in bypassed.items() if count}
        print(
            f"{path.stem:20} {before:6.2f} -> {after:6.2f} dB ({after - before:+.2f}), {len(common)} frames", flush=True
        )
        print(f"{'':20} {counted}, not enhanced: {reasons}", flush=True)
        if options.pictures:
            options.pictures.mkdir(exist_ok=True)
            n = common[-1]
            row = np.hstack([plain.faces[n], enhanced.faces[n], wanted[n]])
            large = cv2.resize(row, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(str(options.pictures / f"{path.stem}.png"), large[..., ::-1])
    print(f"mean over {len(gains)} clips: {np.mean(gains):+.2f} dB")


if __name__ == "__main__":
    main()
