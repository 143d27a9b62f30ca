"""The networks that recognise faces: our own small one, and facenet-pytorch's InceptionResnetV1."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hime_core.arrays import Array
from hime_core.errors import InputError
from hime_core.faces.recognition import NEVER, SIDES, FacePicture, Limits, limits_between
from hime_core.faces.registration import similarity
from hime_core.threads import one_thread

# Where eyes, nose and mouth corners lie in a headshot, shares of its side: the mean of 4,423 photos, made symmetric.
LANDMARKS = np.array([[0.398, 0.449], [0.602, 0.449], [0.5, 0.577], [0.408, 0.667], [0.592, 0.667]], np.float32)
SIDE, SHARE, ABOVE = (
    64,
    0.62,
    0.02,
)  # of what our network sees: pixels; the headshot's share; how far up from its centre
DIMENSIONS = 128
INCEPTION_SIDE = 160
CALIBRATION = Path(__file__).parent.parent / "weights" / "faces" / "identity-casia.safetensors"
AT_ONCE = 32  # faces of a batch


class IdentityNetwork(nn.Module):
    """(N, 3, 64, 64), -1..1, to (N, 128) of unit length. 1.9 million weights."""

    def __init__(self, widths: Sequence[int] = (64, 128, 160), blocks: Sequence[int] = (1, 2, 2)) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        before = 12
        for width, count in zip(widths, blocks, strict=True):
            layers += [_Conv(before, width, 2), nn.ReLU(inplace=True), *(_Residual(width) for _ in range(count))]
            before = width
        self.layers = nn.Sequential(*layers)
        self.pooled = nn.Conv2d(before, before, SIDE // 2 ** (len(widths) + 1), groups=before, bias=False)
        self.head = nn.Linear(before, DIMENSIONS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.head(self.pooled(self.layers(x)).flatten(1)), dim=1)


class _Conv(nn.Module):
    """A 3×3 convolution and batch normalisation, which `fused` merges."""

    def __init__(self, before: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.norm(self.conv(x)))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_Conv(width, width), nn.ReLU(inplace=True), _Conv(width, width))
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.act(x + self.body(x)))


def fused(network: IdentityNetwork) -> IdentityNetwork:
    """The same network for inference, its normalisations merged into the convolutions."""
    network.eval()
    for module in network.modules():
        if isinstance(module, _Conv) and isinstance(module.norm, nn.BatchNorm2d):
            module.conv, module.norm = fuse_conv_bn_eval(module.conv, module.norm), nn.Identity()
    return network


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was measured of a network on people whom it was not trained on. limits: by side; means: (len(SIDES), D), of
    the embeddings at each of SIDES: what all faces of one size have in common says nothing of whose they are."""

    limits: dict[int, Limits]
    means: Array

    def mean(self, side: int) -> Array:
        """(D,), between the sides by their logarithms, at the ends those of the last ones."""
        place = float(np.interp(np.log2(side), np.log2(SIDES), np.arange(len(SIDES))))
        first = min(int(place), len(SIDES) - 2)
        before, after = self.means[first], self.means[first + 1]
        return np.asarray(before + (place - first) * (after - before), np.float32)

    def metadata(self) -> dict[str, str]:
        return {"limits": json.dumps({str(side): [one.same, one.other] for side, one in self.limits.items()})}


class NetworkRecogniser:
    """A Recogniser around a network that takes aligned faces of `side` pixels, (x - 127.5) / 128."""

    def __init__(
        self, name: str, network: nn.Module, side: int, calibration: Calibration | None, device: str | None = None
    ) -> None:
        """calibration: None while it is being measured; device: where the network runs, a GPU where there is one."""
        self.name = name
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._network = network.eval().requires_grad_(False).to(self._device)
        self._network = self._network.to(memory_format=torch.channels_last)
        self._side, self._calibration = side, calibration

    def embed(self, faces: Sequence[FacePicture]) -> Array:
        if not faces:
            return np.zeros((0, DIMENSIONS), np.float32)
        crops = [aligned(face, self._side) for face in faces]
        with torch.inference_mode(), one_thread():
            parts = [self._run(crops[first : first + AT_ONCE]) for first in range(0, len(crops), AT_ONCE)]
        found = np.concatenate(parts)
        if self._calibration:
            found = found - np.stack([self._calibration.mean(face.rgb.shape[0]) for face in faces])
            found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)
        return found.astype(np.float32)

    def _run(self, crops: Sequence[Array]) -> Array:
        batch = torch.from_numpy(np.stack(crops)).to(self._device).permute(0, 3, 1, 2).float()
        batch = ((batch - 127.5) / 128).contiguous(memory_format=torch.channels_last)
        return np.asarray(self._network(batch).float().cpu().numpy())

    def calibrated(self, calibration: Calibration) -> NetworkRecogniser:
        """The same network with what was measured of it."""
        return NetworkRecogniser(self.name, self._network, self._side, calibration, str(self._device))

    def limits(self, side: int) -> Limits:
        return limits_between(self._calibration.limits, side) if self._calibration else NEVER


def aligned(face: FacePicture, side: int) -> Array:
    """The inner face, uint8 (side, side, 3), turned, moved and scaled so that its landmarks lie as the usual ones do,
    as nearly as they can (least squares). Edge pixels are replicated."""
    target = ((LANDMARKS - (0.5, 0.5 - ABOVE)) / SHARE + 0.5) * side - 0.5
    rgb, landmarks = face.rgb, np.asarray(face.landmarks, np.float32)
    scale = np.linalg.norm(similarity(landmarks, target)[0, :2])
    if scale < 0.75:  # reduced by area first, as the sampling below would leave out pixels
        smaller = max(1, round(1.2 * scale * rgb.shape[0]))
        landmarks = (landmarks + 0.5) * (smaller / rgb.shape[0]) - 0.5
        rgb = cv2.resize(rgb, (smaller, smaller), interpolation=cv2.INTER_AREA)
    move = similarity(landmarks, target)
    return cv2.warpAffine(rgb, move, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def read_own(path: Path, calibrated: bool = True) -> NetworkRecogniser:
    """The network of hime_core.training.identity; calibrated: it must have been measured. Raises InputError."""
    try:
        state, metadata = read_tensors(path)
        means = state.pop("means", None)
        network = IdentityNetwork()
        network.load_state_dict(state)
        calibration = _calibration(means, metadata) if calibrated else None
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a measured network of hime_core.training.identity: {error}") from error
    return NetworkRecogniser("hime identity", fused(network), SIDE, calibration)


def read_inception(path: Path, calibrated: bool = True) -> NetworkRecogniser:
    """InceptionResnetV1 with a state dict that was trained on CASIA-WebFace: only of that the limits are known.

    Raises InputError.
    """
    bare = NetworkRecogniser("InceptionResnetV1 CASIA-WebFace", inception(path), INCEPTION_SIDE, None)
    if not calibrated:
        return bare
    state, metadata = read_tensors(CALIBRATION)
    if float(bare.embed([probe()])[0] @ state["probe"].numpy()) < 0.99:
        raise InputError(
            f"{path} is InceptionResnetV1 with other weights than those of CASIA-WebFace, of which alone it is known "
            "how alike two faces must be"
        )
    return bare.calibrated(_calibration(state["means"], metadata))


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """A safetensors file's tensors, in float32, and its metadata. Raises OSError, SafetensorError."""
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        return {name: file.get_tensor(name).float() for name in names}, file.metadata() or {}


def _calibration(means: torch.Tensor | None, metadata: dict[str, str]) -> Calibration:
    """Raises KeyError, TypeError, ValueError."""
    kept = json.loads(metadata["limits"])
    if means is None or means.ndim != 2 or len(means) != len(SIDES) or not kept:
        raise ValueError("it holds no limits and means")
    limits = {int(side): Limits(float(same), float(other)) for side, (same, other) in kept.items()}
    return Calibration(limits, means.numpy())


def inception(path: Path) -> nn.Module:
    """facenet-pytorch's InceptionResnetV1 in inference mode, (N, 3, 160, 160) to (N, 512). Raises InputError."""
    from facenet_pytorch import InceptionResnetV1

    state = {name: value for name, value in read_state(path).items() if not name.startswith("logits.")}
    network: nn.Module = InceptionResnetV1(pretrained=None).eval()
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{path} is no state dict of InceptionResnetV1: {error}") from error
    return network


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """A PyTorch state dict, bare or under "params_ema", in float32. Raises InputError."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; the folder must hold it") from error
    except (OSError, RuntimeError, EOFError, ValueError, struct.error, pickle.UnpicklingError) as error:
        raise InputError(f"{path} cannot be read as a PyTorch state dict: {error}") from error
    state = state.get("params_ema", state) if isinstance(state, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path} holds no state dict of tensors")
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def probe() -> FacePicture:
    """A drawn picture, of which every network has an embedding of its own."""
    y, x = np.mgrid[0:INCEPTION_SIDE, 0:INCEPTION_SIDE].astype(np.float32) / INCEPTION_SIDE
    waves = [128 + 60 * np.sin(a * x + b * y) + 40 * np.cos(b * x - a * y * y) for a, b in ((9, 4), (13, 7), (5, 17))]
    return FacePicture(np.stack(waves, 2).round().astype(np.uint8), LANDMARKS * INCEPTION_SIDE - 0.5)
