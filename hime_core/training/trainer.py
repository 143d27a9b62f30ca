"""The training loop: resumable from one file, ended by the clock or by a number of steps."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from hime_core.model.checkpoint import save_checkpoint
from hime_core.model.hime import Hime
from hime_core.training.curve import draw_curve
from hime_core.training.dataset import PairDataset
from hime_core.training.echo import EchoPool, by_side
from hime_core.training.losses import LossWeights
from hime_core.training.muon import Muon, hidden_convolutions
from hime_core.training.objective import Critics, Objective
from hime_core.training.replay import Replay, restore

FIRST_PAIRS = 512  # in the pool before the first step, where pairs are echoed


@dataclass(frozen=True)
class TrainOptions:
    """minutes, iterations: of training in all, over every resumption; where iterations are given, the clock does not
    count, so that runs compare on any machine; rate: Adam's peak learning rate, after `warmup` steps and
    before a cosine decay to zero; hidden_rate: Muon's, for the convolutions inside, in multiples of
    it; critic_rate: the discriminator's, which does not decay; None for `rate`; workers: data processes; echoes: times
    that a pair is used, each time through another window (`EchoPool`)."""

    minutes: float
    iterations: int | None = None
    rate: float = 5e-4
    hidden_rate: float = 3.0
    critic_rate: float | None = None
    warmup: int = 100
    clip: float = 0.5
    ema: float = 0.998
    workers: int = 1
    echoes: int = 1
    save_every_s: float = 120.0
    threads: int | None = None
    losses: LossWeights = field(default_factory=LossWeights)


@dataclass(frozen=True)
class Progress:
    """done: share of the run; loss, terms: the mean of the loss, and of each of its terms, since the report before."""

    step: int
    minutes: float
    done: float
    loss: float
    terms: dict[str, float]


class Trainer:
    """Trains into `run`: state.pt to resume from, log.jsonl, samples/*.png, weights.safetensors (averaged weights)."""

    def __init__(
        self,
        model: Hime,
        data: PairDataset,
        run: Path,
        options: TrainOptions,
        critics: Critics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        cuda = self.device.type == "cuda"
        self._bf16 = cuda or torch.cpu._is_avx512_bf16_supported()  # a CPU without emulates it, slowly
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self.data, self.run, self.options = data, run, options
        torch.backends.cudnn.benchmark = cuda  # shapes are few and stay
        self.average = deepcopy(self.model).requires_grad_(False)
        hidden = hidden_convolutions(self.model)
        inside = set(map(id, hidden))
        rest = [p for p in self.model.parameters() if id(p) not in inside]
        # In tensors on the device, so that a replayed step sees them change.
        self._rate, self._pull = (torch.tensor(0.0, device=self.device) for _ in range(2))
        self.adam = torch.optim.Adam(rest, lr=self._rate, betas=(0.9, 0.99), fused=True, capturable=cuda)
        self.muon = Muon(hidden, lr=self._rate, multiple=options.hidden_rate)
        critic_rate = options.rate if options.critic_rate is None else options.critic_rate
        self.objective = Objective(options.losses, critics or Critics(), critic_rate, self.device, self._bf16)
        self.step, self.elapsed = 0, 0.0
        self._update = Replay(self._learn) if cuda else self._learn
        self._clock = clock
        (run / "samples").mkdir(parents=True, exist_ok=True)
        if options.threads:
            torch.set_num_threads(options.threads)

    def resume(self) -> bool:
        """Goes on from state.pt if there is one."""
        path = self.run / "state.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        restore(self.adam, state["adam"])
        restore(self.muon, state["muon"])
        self.objective.load_state_dict(state["objective"])
        self.step, self.elapsed = state["step"], state["elapsed"]
        return True

    def train(self, report: Callable[[Progress], None]) -> None:
        """Runs until `done`; saves every two minutes and at the end, also when interrupted."""
        start, before = self._clock(), self.elapsed
        saved, losses = start, list[dict[str, Tensor]]()
        try:
            for sample in self._batches():
                self._rate.fill_(self.rate())
                self._pull.fill_(1 - min(self.options.ema, (1 + self.step) / (10 + self.step)))
                losses.append(self._update(sample))
                self.step += 1
                now = self._clock()
                self.elapsed = before + now - start
                if self.step % 20 == 0:
                    terms = {name: float(torch.stack([loss[name] for loss in losses]).mean()) for name in losses[0]}
                    progress = Progress(self.step, self.elapsed / 60, self.done, sum(terms.values()), terms)
                    losses.clear()
                    report(progress)
                    with (self.run / "log.jsonl").open("a") as log:
                        log.write(json.dumps(asdict(progress)) + "\n")
                if now - saved > self.options.save_every_s:
                    saved = now
                    self.save()
                    self._picture(sample)
                    draw_curve(self.run / "log.jsonl", self.run / "loss.svg")
                if self.done >= 1:
                    break
        finally:
            self.save()

    def save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "adam": self.adam.state_dict(),
            "muon": self.muon.state_dict(),
            "objective": self.objective.state_dict(),
            "step": self.step,
            "elapsed": self.elapsed,
        }
        partial = self.run / "state.partial"
        torch.save(state, partial)
        partial.replace(self.run / "state.pt")
        save_checkpoint(self.average, self.run / "weights.safetensors")

    @property
    def done(self) -> float:
        """How much of the run is done; 1 and above: all."""
        if self.options.iterations:
            return self.step / self.options.iterations
        return self.elapsed / (self.options.minutes * 60)

    def rate(self) -> float:
        """The learning rate now: linear warm-up in steps, cosine decay over the run."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self.done)))
        return self.options.rate * min(1.0, (self.step + 1) / self.options.warmup) * cosine

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        """From the step that comes next on, on the device, uint8."""
        o, echoes = self.data.options, self.options.echoes
        source, batch, collate = self.data, o.batch, None
        if echoes > 1:
            source, batch, collate = self.data.whole(), o.whole().batch, by_side
        first = self.step * o.batch // echoes // batch * batch
        loader = DataLoader(
            Subset(source, range(first, len(source))),
            batch_size=batch,
            num_workers=self.options.workers,
            collate_fn=collate,
            pin_memory=self.device.type == "cuda",
        )
        if echoes == 1:
            for sample in loader:
                yield {name: value.to(self.device, non_blocking=True) for name, value in sample.items()}
            return
        pool, due = EchoPool(o, self.device, self.data.seed), float(FIRST_PAIRS)
        for samples in loader:
            pool.put(samples)
            due -= batch
            while due <= 0:
                due += o.batch / echoes
                yield pool.draw(self.step)

    def _learn(self, sample: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step. Nothing here waits for the device, and what changes from step to step lies there (`Replay`)."""
        lr, hr, references = (sample[name].float().div_(255) for name in ("lr", "hr", "references"))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            sr = self.model(lr, references)
        terms = self.objective.terms(sr.float(), hr, lr, references)
        self.model.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
        self.adam.step()
        self.muon.step()
        self._follow()
        return {name: value.detach() for name, value in terms.items()}

    @torch.no_grad()
    def _follow(self) -> None:
        """An exponential moving average of the weights; it begins short, so that short runs do not average their
        beginning."""
        averages, weights = tuple(self.average.parameters()), tuple(self.model.parameters())
        moves = torch._foreach_sub(weights, averages)
        torch._foreach_mul_(moves, self._pull)
        torch._foreach_add_(averages, moves)

    @torch.no_grad()
    def _picture(self, sample: dict[str, Tensor]) -> None:
        """A sheet of rows: bicubic, first reference, result, truth."""
        sample = {name: value[:8].float() / 255 for name, value in sample.items()}
        sr = self.average.eval()(sample["lr"], sample["references"]).cpu()
        sample = {name: value.cpu() for name, value in sample.items()}
        plain = torch.nn.functional.interpolate(sample["lr"], size=sr.shape[-2:], mode="bicubic", align_corners=False)
        black = torch.zeros_like(sample["hr"][:, None, :1])  # a batch may have no references
        reference = torch.cat([sample["references"], black], dim=1)[:, 0].expand(-1, 3, -1, -1)
        rows = torch.cat([torch.cat(list(r), dim=2) for r in (plain, reference, sr, sample["hr"])], dim=0)
        sheet = torch.cat(rows.split(3), dim=1).clamp(0, 1).mul(255).round().byte().permute(1, 2, 0)
        Image.fromarray(sheet.numpy()).save(self.run / "samples" / f"{self.step:06d}.png")
