"""Networks that judge pictures: LPIPS and an identity embedding, their weights read from files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hime_core.errors import InputError
from hime_core.evaluation.metrics import face_square, unit
from hime_core.faces.networks import inception, read_state

ALEXNET, LPIPS_HEADS, IDENTITY = "alexnet_features.pth", "lpips_alex.pth", "inception_resnet_v1_casia_fp16.pt"
ALEXNET_SLICES = {"0": 1, "3": 2, "6": 3, "8": 4, "10": 5}  # torchvision's layer to the lpips package's slice
# Measured on 23 people: the share of the headshot that tells them apart best (AUC 0.994; 0.950 for the whole).
IDENTITY_SHARE = 0.7
IDENTITY_SIDE = 160


class Lpips:
    """LPIPS v0.1 over AlexNet (Zhang et al., 2018): 0 for equal pictures, more is worse.

    folder: holds alexnet_features.pth (torchvision's keys) and lpips_alex.pth (the lpips package's heads).
    Raises InputError.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import lpips
        except ImportError as error:
            raise InputError("--lpips needs the package lpips; pip install lpips") from error
        features, heads = read_state(folder / ALEXNET), read_state(folder / LPIPS_HEADS)
        with warnings.catch_warnings():  # of torchvision, about how lpips calls it
            warnings.simplefilter("ignore")
            self._network = lpips.LPIPS(pretrained=False, pnet_rand=True, net="alex", verbose=False)
        try:
            names = {name: name.split(".") for name in features}
            self._network.net.load_state_dict(
                {f"slice{ALEXNET_SLICES[layer]}.{layer}.{kind}": features[n] for n, (_, layer, kind) in names.items()}
            )
            for number, head in enumerate(self._network.lins):
                head.load_state_dict({"model.1.weight": heads[f"lin{number}.model.1.weight"]})
        except (KeyError, ValueError, RuntimeError) as error:
            raise InputError(f"{folder}: {ALEXNET} and {LPIPS_HEADS} are not those of LPIPS v0.1: {error}") from error

    @torch.inference_mode()
    def distances(self, images: Sequence[np.ndarray], truth: np.ndarray) -> list[float]:
        batch = torch.cat([unit(image) for image in images])
        return self._network(batch, unit(truth).expand_as(batch), normalize=True).flatten().tolist()


class Identity:
    """Likeness of faces: InceptionResnetV1 (facenet-pytorch) on the face in a headshot, enlarged to 160 px.

    folder: holds inception_resnet_v1_casia_fp16.pt, a state dict of that class. Raises InputError.
    """

    def __init__(self, folder: Path) -> None:
        self._network = inception(folder / IDENTITY)

    @torch.inference_mode()
    def similarities(self, images: Sequence[np.ndarray], truth: np.ndarray) -> list[float]:
        """Cosines, -1..1."""
        faces = torch.cat([unit(self._face(image)) for image in (truth, *images)])
        first, *rest = self._network(faces * (255 / 128) - 127.5 / 128)  # embeddings are of unit length
        return [float(first @ other) for other in rest]

    @staticmethod
    def _face(headshot: np.ndarray) -> np.ndarray:
        x, y, side = face_square(headshot.shape[0], IDENTITY_SHARE)
        face = Image.fromarray(headshot[y : y + side, x : x + side])
        return np.asarray(face.resize((IDENTITY_SIDE, IDENTITY_SIDE), Image.Resampling.BICUBIC))
