"""Whether registration tells two people under one name, and leaves one person's photos alone.

    python -m benchmarks.faces.registration HEADSHOTS [--recogniser WEIGHTS] [--draws 300]

HEADSHOTS holds <identity>/<photo>.jpg of people whom the recogniser was not trained on, five photos of each at least.
Requests are drawn from them: two to four photos of one person (how many are refused), two of one and one of another
(how many are caught), and one photo where three of the person are kept already, the person's own or another's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hime_core.exemplars.exemplar import Exemplar
from hime_core.faces.geometry import Headshot
from hime_core.faces.recognisers import load_recogniser
from hime_core.people.agreement import by_person, strangers
from hime_core.training.people import read_faces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("headshots", type=Path)
    parser.add_argument("--recogniser", default=None)
    parser.add_argument("--draws", type=int, default=300)
    o = parser.parse_args()
    recogniser, people, rng = load_recogniser(o.recogniser), read_faces(o.headshots), np.random.default_rng(0)
    side = people.rgb.shape[1]
    photos = [
        Exemplar("", rgb, Headshot((side - 1) / 2, (side - 1) / 2, side), points, 1.0, 0.0, 0.5, "photo", 0, 0.0, side)
        for rgb, points in zip(people.rgb, people.landmarks, strict=True)
    ]
    groups = [own for n in range(len(people.names)) if len(own := np.flatnonzero(people.person == n)) >= 5]
    print(f"{recogniser.name}; {len(groups)} people; {o.draws} draws each")

    def drawn(group: np.ndarray, count: int) -> list[Exemplar]:
        return [photos[n] for n in rng.choice(group, count, replace=False)]

    def two() -> tuple[np.ndarray, np.ndarray]:
        one, other = rng.choice(len(groups), 2, replace=False)
        return groups[one], groups[other]

    for count in (2, 3, 4):
        refused = [len(by_person(drawn(two()[0], count), recogniser)) > 1 for _ in range(o.draws)]
        print(f"{count} photos of one person: {np.mean(refused):.1%} refused")
    caught, own, others = [], [], []
    for _ in range(o.draws):
        one, other = two()
        caught.append(len(by_person(drawn(one, 2) + drawn(other, 1), recogniser)) > 1)
        first, *kept = drawn(one, 4)
        own.append(bool(strangers([first], kept, recogniser)))
        others.append(bool(strangers(drawn(other, 1), kept, recogniser)))
    print(f"two photos of one and one of another: {np.mean(caught):.1%} caught")
    print(f"three photos kept: {np.mean(own):.1%} of own refused, {np.mean(others):.1%} of others'")


if __name__ == "__main__":
    main()
