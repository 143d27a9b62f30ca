"""What detections cost by themselves and with networks that streams share, by the number of streams at once.

    python -m benchmarks.faces.detector_batches [--device cpu|cuda] [--rounds 20] [--json OUT]

The astronaut in frames of 640x360, searched whole and looked up where the face was, by 1, 2 and 4 streams in threads of
their own (1, 4, 16 and 64 on CUDA). ms: of one stream's detection; cpu: processor time per detection, ms.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import torch
from skimage import data

from hime_core.faces.detector import MtcnnDetector, ScanningDetector
from hime_core.faces.mtcnn import SharedNetworks

STREAMS = {"cpu": (1, 2, 4), "cuda": (1, 4, 16, 64)}


@dataclass(frozen=True)
class Cost:
    networks: str
    search: str
    streams: int
    ms: float
    cpu_ms: float


def frame() -> np.ndarray:
    picture = np.full((360, 640, 3), 110, np.uint8)
    picture[60:320, 200:460] = cv2.resize(data.astronaut(), (260, 260), interpolation=cv2.INTER_AREA)
    return picture


def measure(device: str, rounds: int) -> list[Cost]:
    picture, found = frame(), []
    for name, detector in (
        ("own", MtcnnDetector()),
        (f"shared, {device}", MtcnnDetector(networks=SharedNetworks(device))),
    ):
        boxes = [face.box for face in ScanningDetector(detector).detect(picture)]
        for search in ("whole", "known"):
            for count in STREAMS[device]:
                scanners = [ScanningDetector(detector, every=1 if search == "whole" else 10**6) for _ in range(count)]
                last = boxes if search == "known" else []

                def run(scanner: ScanningDetector, last: list = last) -> float:
                    start = time.perf_counter()
                    scanner.detect(picture, last)
                    return time.perf_counter() - start

                with ThreadPoolExecutor(count) as threads:
                    for scanner in scanners:
                        run(scanner)  # the first call searches the whole frame
                    begin, times = time.process_time(), []
                    for _ in range(rounds):
                        times += list(threads.map(run, scanners))
                    seconds = (time.process_time() - begin) / len(times)
                found.append(Cost(name, search, count, 1e3 * float(np.median(times)), 1e3 * seconds))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rows = measure(options.device, options.rounds)
    for row in rows:
        print(f"{row.networks:14} {row.search:6} {row.streams:3} streams: {row.ms:7.2f} ms, {row.cpu_ms:6.2f} cpu")
    if options.json:
        with open(options.json, "w") as file:
            json.dump([asdict(row) for row in rows], file, indent=1)


if __name__ == "__main__":
    main()
