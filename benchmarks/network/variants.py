"""What each variant of the network costs: parameters, GMACs beside the paper's, and ms per face as the relay runs it.

    OMP_NUM_THREADS=1 python -m benchmarks.network.variants [--short]

One thread, processor time, medians over rounds in which the networks take turns. Weights are random: they do not change
the time.
"""

from __future__ import annotations

import argparse
from functools import partial
from time import process_time

import numpy as np

from hime_core.engine import build_backend
from hime_core.evaluation.bench import medians
from hime_core.model.build import build_large, build_small, build_tiny
from hime_core.model.count import multiply_accumulates, parameter_count
from hime_core.model.hime import Hime

LR_SIDE = 32
PAPER = {  # Table 1, three references: (name, LR side) to parameters in millions, GMACs
    ("small x4", 32): (0.87, 1.86),
    ("small x4", 64): (0.87, 7.48),
    ("small x8", 16): (0.90, 0.49),
    ("large x4", 32): (9.23, 6.06),
    ("large x4", 64): (9.23, 24.24),
    ("large x8", 16): (9.26, 4.49),
}


def networks() -> dict[str, Hime]:
    return {
        "tiny x4": build_tiny(4),
        "small x4, one step": build_small(4, steps=1),
        "small x4": build_small(4),
        "large x4": build_large(4),
        "small x8": build_small(8),
        "large x8": build_large(8),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="Few rounds.")
    rounds = 5 if parser.parse_args().short else 30
    models, rng = networks(), np.random.default_rng(0)
    print(f"{'':20}{'LR':>4}{'M':>8}{'paper':>7}{'GMAC':>9}{'paper':>7}   three references")
    for (name, side), (millions, gmacs) in PAPER.items():
        ours = parameter_count(models[name]) / 1e6, multiply_accumulates(models[name], side, 3)
        print(f"{name:20}{side:4}{ours[0]:8.3f}{millions:7.2f}{ours[1]:9.3f}{gmacs:7.2f}")
    timed = {name: model for name, model in models.items() if model.config.scale == 4}
    backends = {name: build_backend(model, "cpu") for name, model in timed.items()}
    print(f"\n{f'LR {LR_SIDE}':20}{'refs':>4}{'M':>8}{'GMAC':>9}{'ms':>8}   times as fast as small x4")
    for references in (1, 3):
        lr = rng.integers(0, 256, (1, LR_SIDE, LR_SIDE, 3), np.uint8)
        refs = rng.integers(0, 256, (1, references, 4 * LR_SIDE, 4 * LR_SIDE), np.uint8)
        calls = [partial(backend.infer, lr, refs) for backend in backends.values()]
        seconds = dict(zip(backends, medians(calls, rounds, process_time), strict=True))
        for name, model in timed.items():
            gmacs = multiply_accumulates(model, LR_SIDE, references)
            print(
                f"{name:20}{references:4}{parameter_count(model) / 1e6:8.3f}{gmacs:9.3f}{1e3 * seconds[name]:8.1f}"
                f"   {seconds['small x4'] / seconds[name]:.2f}"
            )


if __name__ == "__main__":
    main()
