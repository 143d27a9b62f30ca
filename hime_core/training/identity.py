"""Trains the network that recognises faces in calls (`hime_core.faces.networks.IdentityNetwork`).

    python -m hime_core.training.identity --data HEADSHOTS/train --teacher inception_resnet_v1_casia_fp16.pt --out RUN

It learns to say of a small, blurred, coded face what InceptionResnetV1 says of the sharp photo (distillation), and to
keep people apart, made ones included (CosFace, Wang et al., 2018). RUN is gone on with where it was begun. Limits are
then measured and written by `hime evaluate --identity`.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hime_core.arrays import Array
from hime_core.faces.networks import DIMENSIONS, INCEPTION_SIDE, IdentityNetwork, aligned, fused, inception
from hime_core.faces.recognition import SIDES, FacePicture, coarsened
from hime_core.training.muon import Muon
from hime_core.training.people import (
    KEPT_SIDE,
    Callers,
    People,
    held_out,
    made_people,
    mirrored_points,
    read_faces,
)

SCALE, MARGIN = 24.0, 0.25  # of CosFace
CLASSES_WEIGHT = 0.03  # of its loss beside 1 - cosine with the teacher
DRAWS = 3  # of FACES, in a step
AVERAGED = 0.995  # decay of the average of the weights that is written
WARM = 0.03  # share of the time in which the rate grows
SAVED_EVERY = 150.0  # seconds


class Targets:
    """What is learned: of every picture and its mirror image the teacher's embedding, about its mean and turned so that
    DIMENSIONS coordinates hold nearly all of it. Centred, it tells people apart better: of 630 photos of 50 people
    5 % instead of 8 % were missed at 1 false in 1,000."""

    def __init__(self, embeddings: Array, real: int) -> None:
        """embeddings: (N, 2, 512); real: how many of them, from the first on, are of photos."""
        self.mean = embeddings[:real].reshape(-1, embeddings.shape[-1]).mean(0)
        centred = embeddings - self.mean
        axes = np.linalg.svd(centred[:real, 0], full_matrices=False)[2][:DIMENSIONS]
        turned = centred @ axes.T
        self.values = torch.from_numpy(turned / np.linalg.norm(turned, axis=-1, keepdims=True)).float()


def prepare(data: Path, teacher: Path, out: Path, made: int, photos: int, seed: int) -> tuple[People, int, Array]:
    """Pictures of people who are not held out, then of made ones; how many are photos; and the teacher's embeddings."""
    kept = out / "faces.npz"
    if kept.is_file():
        with np.load(kept) as file:
            people = People(file["rgb"], file["landmarks"], file["person"], tuple(file["names"]))
            return people, int(file["real"]), file["embeddings"]
    aside = set(held_out(data))
    names = [folder.name for folder in sorted(data.iterdir()) if folder.is_dir() and folder.name not in aside]
    real = read_faces(data, KEPT_SIDE, names)
    others = made_people(real, made, photos, np.random.default_rng(seed))
    people = People(
        np.concatenate([real.rgb, others.rgb]),
        np.concatenate([real.landmarks, others.landmarks]),
        np.concatenate([real.person, others.person + len(real.names)]),
        real.names + others.names,
    )
    print(f"{len(real.person)} photos of {len(real.names)} people, {len(others.person)} pictures of {made} made ones")
    embeddings = _taught(people, inception(teacher))
    np.savez(kept, rgb=people.rgb, landmarks=people.landmarks, person=people.person, names=np.array(people.names),
             real=len(real.person), embeddings=embeddings)  # fmt: skip
    return people, len(real.person), embeddings


def _taught(people: People, network: nn.Module) -> Array:
    """(N, 2, 512): of the pictures, and of their mirror images."""
    found = []
    network = network.to(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for first in range(0, len(people.person), 32):
            crops = []
            for number in range(first, min(first + 32, len(people.person))):
                face = people.face(number)
                mirrored = FacePicture(
                    np.ascontiguousarray(face.rgb[:, ::-1]), mirrored_points(face.landmarks, KEPT_SIDE)
                )
                crops += [aligned(face, INCEPTION_SIDE), aligned(mirrored, INCEPTION_SIDE)]
            found.append(network(_batch(np.stack(crops))).float().numpy().reshape(-1, 2, 512))
            if first % 1024 == 0:
                print(f"teacher: {first} of {len(people.person)}", flush=True)
    return np.concatenate(found)


def _batch(crops: Array) -> torch.Tensor:
    batch = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    return ((batch - 127.5) / 128).contiguous(memory_format=torch.channels_last)


class _Stream(torch.utils.data.IterableDataset[tuple[Array, Array, Array]]):
    """Callers, drawn in a process of its own."""

    def __init__(self, people: People, seed: int) -> None:
        self._people, self._seed = people, seed

    def __iter__(self) -> Iterator[tuple[Array, Array, Array]]:
        worker = torch.utils.data.get_worker_info()
        draws = iter(Callers(self._people, self._seed + 1000 * (worker.id if worker else 0)))
        while True:
            parts = [next(draws) for _ in range(DRAWS)]
            crops, picks, flips = (np.concatenate([part[n] for part in parts]) for n in range(3))
            yield crops, picks, flips


class CosFace(nn.Module):
    """Cross entropy over people, where the right one must win by a margin."""

    def __init__(self, people: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(people, DIMENSIONS) * 0.05)

    def forward(self, embeddings: torch.Tensor, person: torch.Tensor) -> torch.Tensor:
        cosines = embeddings @ nn.functional.normalize(self.centres, dim=1).T
        right = nn.functional.one_hot(person, cosines.shape[1])
        return nn.functional.cross_entropy(SCALE * (cosines - MARGIN * right), person)


def train(
    network: IdentityNetwork,
    people: People,
    targets: torch.Tensor,
    out: Path,
    minutes: float,
    rate: float,
    seed: int,
    data: Path,
) -> None:
    """Until `minutes` of training, those of earlier runs included; writes RUN/state.pt and RUN/identity.safetensors."""
    torch.manual_seed(seed)
    network, classes = network.to(memory_format=torch.channels_last), CosFace(len(people.names))
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGED), use_buffers=True
    )
    inner = [p for p in network.parameters() if p.ndim == 4 and p.shape[1] >= 64]
    outer = [p for p in (*network.parameters(), *classes.parameters()) if all(p is not other for other in inner)]
    optimisers = [torch.optim.AdamW(outer, lr=rate, weight_decay=0.05), Muon(inner, lr=rate)]
    parts: dict[str, Any] = {"network": network, "classes": classes, "average": average}
    parts |= {type(optimiser).__name__: optimiser for optimiser in optimisers}
    steps, spent, state = 0, 0.0, out / "state.pt"
    if state.is_file():
        kept = torch.load(state, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(kept[name])
        steps, spent = kept["steps"], kept["spent"]
    person = torch.from_numpy(people.person)
    aside = read_faces(data, 256, held_out(data), most=4)
    stream = torch.utils.data.DataLoader(_Stream(people, seed + 7919 * steps), batch_size=None, num_workers=1)
    begun, saved, losses = time.monotonic() - spent, time.monotonic(), []
    for crops, picks, flips in stream:
        done = (time.monotonic() - begun) / (60 * minutes)
        for group in (group for optimiser in optimisers for group in optimiser.param_groups):
            group["lr"] = rate * min(1.0, done / WARM) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done))) + 1e-6
        network.train()
        with torch.autocast("cpu", torch.bfloat16):
            found = network(
                ((crops.permute(0, 3, 1, 2).float() - 127.5) / 128).contiguous(memory_format=torch.channels_last)
            )
        found = found.float()
        likeness = (found * targets[picks, flips.long()]).sum(1)
        loss = (1 - likeness).mean() + CLASSES_WEIGHT * classes(found, person[picks])
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        for optimiser in optimisers:
            optimiser.step()
        average.update_parameters(network)
        steps += 1
        losses.append((float(loss.detach()), float(likeness.detach().mean())))
        if time.monotonic() - saved > SAVED_EVERY or done >= 1:
            saved, spent = time.monotonic(), time.monotonic() - begun
            torch.save({**{name: part.state_dict() for name, part in parts.items()}, "steps": steps, "spent": spent},
                       state.with_suffix(".partial"))  # fmt: skip
            state.with_suffix(".partial").replace(state)
            write(average.module, out / "identity.safetensors")
            mean = np.mean(losses, 0)
            print(f"{spent / 60:.1f} min, {steps} steps: loss {mean[0]:.3f}, likeness {mean[1]:.3f}; "
                  f"missed at 1 in 1,000: {missed(out / 'identity.safetensors', aside)}", flush=True)  # fmt: skip
            losses, saved = [], time.monotonic()
            if done >= 1:
                break


def write(network: nn.Module, path: Path) -> None:
    """Half precision, without limits: `hime evaluate --identity --train` measures those."""
    tensors = {name: t.half().contiguous() for name, t in network.state_dict().items()}
    save_file(tensors, path)


def missed(path: Path, people: People) -> dict[int, float]:
    """By side, the share of pairs of a person's photos that 999 of 1,000 others' pairs are less alike than."""
    if len(people.names) < 2:
        return {}
    network = IdentityNetwork()
    network.load_state_dict({name: t.float() for name, t in load_file(path).items()})
    fused(network)
    first, second = np.triu_indices(len(people.person), 1)
    own, rates = people.person[first] == people.person[second], {}
    for side in SIDES:
        crops = np.stack([aligned(coarsened(people.face(n), side), 64) for n in range(len(people.person))])
        with torch.inference_mode():
            found = torch.cat([network(_batch(part)) for part in np.array_split(crops, len(crops) // 64 + 1)]).numpy()
        cosines = (found @ found.T)[first, second]
        rates[side] = round(float((cosines[own] < np.quantile(cosines[~own], 0.999)).mean()), 3)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="<identity>/<photo> headshots")
    parser.add_argument("--teacher", type=Path, required=True, help="state dict of InceptionResnetV1")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--made", type=int, default=800, help="people made of two others")
    parser.add_argument("--photos", type=int, default=4, help="pictures of each of them")
    parser.add_argument("--init", type=Path, help="weights of an earlier run to begin with")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    people, real, embeddings = prepare(
        options.data, options.teacher, options.out, options.made, options.photos, options.seed
    )
    targets = Targets(embeddings, real)
    network = IdentityNetwork()
    if options.init:
        network.load_state_dict({name: tensor.float() for name, tensor in load_file(options.init).items()})
    train(network, people, targets.values, options.out, options.minutes, options.rate, options.seed, options.data)


if __name__ == "__main__":
    main()
