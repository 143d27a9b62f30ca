"""Checkpoints: safetensors whose metadata carries the hyper-parameters."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hime_core.errors import InputError
from hime_core.model.flow import SpyNet

if TYPE_CHECKING:
    from hime_core.model.hime import Hime

FORMAT = "hime"
SPYNET_KEY = re.compile(r"[A-Za-z_]+\.(\d)\.[A-Za-z_]+\.(\d)\.(weight|bias)")  # of the layouts published so far
WEIGHTS = Path(__file__).parent.parent / "weights"
DEFAULT_WEIGHTS = "small-x4-call"


class CheckpointError(InputError):
    """The file is no checkpoint of this network; the message says why and what would be right."""


def save_checkpoint(model: Hime, path: Path, half: bool = False) -> None:
    """Writes the weights whole or not at all; `half` stores them as float16."""
    tensors = {
        name: (value.half() if half else value).detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    metadata = {"format": FORMAT, "config": json.dumps(dataclasses.asdict(model.config))}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata)
    partial.replace(path)


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The hyper-parameters of `HimeConfig` and the weights in float32. Raises CheckpointError."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a HIME checkpoint: its metadata lacks format={FORMAT}")
    try:
        return dict(json.loads(metadata["config"])), tensors
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not say what network it is of: {error}") from error


def find_weights(name: str | Path) -> Path:
    """The file of a shipped checkpoint by name ({variant}-x{scale}-{recipe}), or a path as it is.

    Raises CheckpointError that lists the names there are.
    """
    path = Path(name)
    if path.suffix == ".safetensors":
        if path.is_file():
            return path
        raise CheckpointError(f"{path} does not exist")
    shipped = WEIGHTS / f"{name}.safetensors"
    if shipped.is_file():
        return shipped
    names = ", ".join(sorted(p.stem for p in WEIGHTS.glob("*.safetensors"))) or "none"
    raise CheckpointError(f"no weights named {name!r}; there are: {names}; or give a .safetensors file")


def load_spynet(path: Path) -> SpyNet:
    """Published SpyNet weights: a state dict, bare or under "params", of six levels of five convolutions, such as
    `moduleBasic.{level}.netBasic.{0,2,4,6,8}.weight`.

    Raises CheckpointError.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} cannot be read as a PyTorch state dict: {error}") from error
    found = found.get("params", found) if isinstance(found, dict) else found
    found = found if isinstance(found, dict) else {}
    keys = {str(name): SPYNET_KEY.fullmatch(str(name)) for name in found}
    tensors = {"levels.{}.{}.{}".format(*match.groups()): found[name] for name, match in keys.items() if match}
    spynet = SpyNet()
    try:
        spynet.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} does not hold SpyNet's weights (moduleBasic.0.netBasic.0.weight and so on): {error}"
        ) from error
    return spynet
