"""CelebAMask-HQ with the identities of CelebA, split as in the paper's section 4."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from hime_core.errors import InputError

IMAGES = "CelebA-HQ-img"
MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
IDENTITIES = "identity_CelebA.txt"
FEWEST = 4  # photos of an identity that is kept
VAL_SHARE = 287 / 2887
SEED = 2021


def is_celebamask(root: Path) -> bool:
    return (root / IMAGES).is_dir() and (root / MAPPING).is_file()


def read_celebamask(root: Path, split: str) -> dict[str, list[Path]]:
    """The photos of each identity in the "train" or "val" part; identities with fewer than four are left out.

    `root` holds CelebA-HQ-img/*.jpg, CelebA-HQ-to-CelebA-mapping.txt, and CelebA's identity_CelebA.txt, which does not
    come with CelebAMask-HQ. The paper splits at random into 2,600 and 287 identities; here by a fixed seed in the same
    proportion. Raises InputError.
    """
    identity_of = {fields[0]: fields[1] for fields in _rows(root / IDENTITIES, 2)}
    photos: dict[int, list[Path]] = defaultdict(list)
    for number, _, original in _rows(root / MAPPING, 3):
        path = root / IMAGES / f"{number}.jpg"
        if number.isdigit() and original in identity_of and path.is_file():
            photos[int(identity_of[original])].append(path)
    kept = sorted(identity for identity, paths in photos.items() if len(paths) >= FEWEST)
    if not kept:
        raise InputError(f"{root}: no identity has {FEWEST} photos in {IMAGES}; unpack CelebAMask-HQ whole")
    order = np.random.default_rng(SEED).permutation(len(kept))
    val = {kept[i] for i in order[: round(len(kept) * VAL_SHARE)]}
    chosen = [identity for identity in kept if (identity in val) == (split == "val")]
    return {str(identity): sorted(photos[identity], key=lambda path: int(path.stem)) for identity in chosen}


def _rows(path: Path, fields: int) -> list[list[str]]:
    try:
        rows = [line.split() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: it belongs beside {IMAGES} ({error})") from error
    return [row for row in rows if len(row) == fields]
