"""The weighted mean of two checkpoints of which one was trained on from the other (Wortsman et al., 2022).

    python -m benchmarks.network.average_weights ONE OTHER SHARE OUT.safetensors [--mirrored] [--half]

ONE, OTHER: names or files; SHARE: of the other, 0..1. Trained on with other pairs, a network forgets a part of what it
had of the first ones; the mean between both is better than either on people that neither was trained on. --mirrored:
a network that answers with the mean of a face's and its mirror image's answers; --half: stored as float16.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from hime_core.model.checkpoint import save_checkpoint
from hime_core.model.hime import Hime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one")
    parser.add_argument("other")
    parser.add_argument("share", type=float)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mirrored", action="store_true")
    parser.add_argument("--half", action="store_true")
    args = parser.parse_args()
    one, other = Hime.from_pretrained(args.one), Hime.from_pretrained(args.other)
    if replace(one.config, mirrored=other.config.mirrored) != other.config:
        parser.error(f"{args.other} is no network like {args.one}; their hyper-parameters must be the same")
    theirs = other.state_dict()
    one.load_state_dict({name: value.lerp(theirs[name], args.share) for name, value in one.state_dict().items()})
    one.config = replace(one.config, mirrored=args.mirrored)
    save_checkpoint(one, args.out, half=args.half)


if __name__ == "__main__":
    main()
