"""The networks that recognise faces: our own small one, and facenet-pytorch's InceptionResnetV1."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hime_core.errors import InputError
from hime_core.faces.recognition import FacePicture, Limits, Recogniser, limits_between
from hime_core.threads import one_thread

# Where eyes, nose and mouth corners lie in a headshot, shares of its side: the mean of 4,423 photos, made symmetric.
LANDMARKS = np.float32([[0.398, 0.449], [0.602, 0.449], [0.5, 0.577], [0.408, 0.667], [0.592, 0.667]])
SIDE, SHARE, ABOVE = (
    64,
    0.62,
    0.02,
)  # of what our network sees: pixels; the headshot's share; how far up from its centre
DIMENSIONS = 128
INCEPTION_SIDE = 160
CALIBRATION = Path(__file__).parent.parent / "weights" / "faces" / "identity-casia.json"
AT_ONCE = 32  # faces of a batch


class IdentityNetwork(nn.Module):
    """(N, 3, 64, 64), -1..1, to (N, 128) of unit length."""

    def __init__(self, widths: Sequence[int] = (32, 64, 128, 160), blocks: Sequence[int] = (1, 2, 2, 1)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width, count in zip(widths, blocks, strict=True):
            layers += [_Conv(before, width, 2), nn.PReLU(width), *(_Residual(width) for _ in range(count))]
            before = width
        self.layers = nn.Sequential(*layers)
        self.pooled = nn.Conv2d(before, before, SIDE // 2 ** len(widths), groups=before, bias=False)
        self.head = nn.Linear(before, DIMENSIONS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.head(self.pooled(self.layers(x)).flatten(1)), dim=1)


class _Conv(nn.Module):
    """A 3×3 convolution and batch normalisation, which `fused` merges."""

    def __init__(self, before: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_Conv(width, width), nn.PReLU(width), _Conv(width, width))
        self.act = nn.PReLU(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(x + self.body(x))


def fused(network: IdentityNetwork) -> IdentityNetwork:
    """The same network for inference, its normalisations merged into the convolutions."""
    network.eval()
    for module in network.modules():
        if isinstance(module, _Conv) and isinstance(module.norm, nn.BatchNorm2d):
            module.conv, module.norm = fuse_conv_bn_eval(module.conv, module.norm), nn.Identity()
    return network


class NetworkRecogniser:
    """A Recogniser around a network that takes aligned faces of `side` pixels, (x - 127.5) / 128."""

    def __init__(
        self, name: str, network: nn.Module, side: int, limits: dict[int, Limits], device: str | None = None
    ) -> None:
        """device: where the network runs, a GPU where there is one unless said."""
        self.name = name
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._network = network.eval().requires_grad_(False).to(self._device, memory_format=torch.channels_last)
        self._side, self._limits = side, limits

    def embed(self, faces: Sequence[FacePicture]) -> np.ndarray:
        if not faces:
            return np.zeros((0, DIMENSIONS), np.float32)
        crops = [aligned(face, self._side) for face in faces]
        with torch.inference_mode(), one_thread():
            parts = [self._run(crops[first : first + AT_ONCE]) for first in range(0, len(crops), AT_ONCE)]
        return np.concatenate(parts)

    def _run(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        batch = torch.from_numpy(np.stack(crops)).to(self._device).permute(0, 3, 1, 2).float()
        batch = ((batch - 127.5) / 128).contiguous(memory_format=torch.channels_last)
        return self._network(batch).float().cpu().numpy()

    def limits(self, side: int) -> Limits:
        return limits_between(self._limits, side)


def aligned(face: FacePicture, side: int) -> np.ndarray:
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


def similarity(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(2, 3): the turn, scale and shift that bring points nearest to their targets."""
    centre, towards = points.mean(0), target.mean(0)
    a, b = points - centre, target - towards
    spread = max(float((a * a).sum()), 1e-6)
    cos, sin = float((a * b).sum()) / spread, float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / spread
    turn = np.array([[cos, -sin], [sin, cos]], np.float32)
    return np.concatenate([turn, (towards - turn @ centre)[:, None]], 1).astype(np.float32)


def read_own(path: Path, limited: bool = True) -> Recogniser:
    """The network of hime_core.training.identity; limited: it must have its limits. Raises InputError."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        network = IdentityNetwork()
        network.load_state_dict(state)
        limits = read_limits(json.loads(metadata["limits"])) if limited else {}
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is not an identity network of `python -m hime_core.training.identity`: {error}"
        ) from error
    return NetworkRecogniser("hime identity", fused(network), SIDE, limits)


def read_inception(path: Path) -> Recogniser:
    """InceptionResnetV1 with a state dict that was trained on CASIA-WebFace: only of that the limits are known.

    Raises InputError.
    """
    network = inception(path)
    known = json.loads(CALIBRATION.read_text())
    recogniser = NetworkRecogniser(
        "InceptionResnetV1 CASIA-WebFace", network, INCEPTION_SIDE, read_limits(known["limits"])
    )
    if float(recogniser.embed([probe()])[0] @ np.float32(known["probe"])) < 0.99:
        raise InputError(
            f"{path} is InceptionResnetV1 with other weights than those of CASIA-WebFace, of which alone it is known "
            "how alike two faces must be"
        )
    return recogniser


def inception(path: Path) -> nn.Module:
    """facenet-pytorch's InceptionResnetV1 in inference mode, (N, 3, 160, 160) to (N, 512). Raises InputError."""
    from facenet_pytorch import InceptionResnetV1

    state = {name: value for name, value in read_state(path).items() if not name.startswith("logits.")}
    network = InceptionResnetV1(pretrained=None).eval()
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


def read_limits(kept: dict[str, Sequence[float]]) -> dict[int, Limits]:
    """Of {"side": [same, other]}, as JSON keeps them. Raises ValueError, TypeError."""
    if not kept:
        raise ValueError("it holds no limits")
    return {int(side): Limits(float(same), float(other)) for side, (same, other) in kept.items()}


def probe() -> FacePicture:
    """A drawn picture, of which every network has an embedding of its own."""
    y, x = np.mgrid[0:INCEPTION_SIDE, 0:INCEPTION_SIDE].astype(np.float32) / INCEPTION_SIDE
    waves = [128 + 60 * np.sin(a * x + b * y) + 40 * np.cos(b * x - a * y * y) for a, b in ((9, 4), (13, 7), (5, 17))]
    return FacePicture(np.stack(waves, 2).round().astype(np.uint8), LANDMARKS * INCEPTION_SIDE - 0.5)
