"""The body of `hime evaluate` for one setting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from hime_core.errors import InputError
from hime_core.evaluation.evaluate import Evaluation
from hime_core.evaluation.lists import MOST, draw_list, of_another, read_list, spread
from hime_core.evaluation.metrics import Meter
from hime_core.evaluation.peers import build_peers
from hime_core.evaluation.perceptual import Identity, Lpips
from hime_core.evaluation.sheet import Sheet
from hime_core.evaluation.store import Record
from hime_core.model.hime import Hime

REFS = ("0", "1", "2", "3", "blank", "wrong")


@dataclass(frozen=True)
class EvaluateOptions:
    """data: <identity>/<photo>.jpg; refs: one of REFS, "wrong" being three of another person; limit: at most so many
    photos, evenly over the people; lpips, peers: folders of weights; sheet: where to put a contact sheet."""

    data: Path
    scale: int = 4
    lr: int = 32
    refs: str = "3"
    weights: str = "small-x4-rec"
    list_file: Path | None = None
    limit: int | None = None
    lpips: Path | None = None
    peers: Path | None = None
    sheet: Path | None = None


def evaluate(options: EvaluateOptions) -> Record:
    """The contents of OUT.json. Raises InputError."""
    o = options
    if o.refs not in REFS:
        raise InputError(f"--refs {o.refs}: it must be one of {', '.join(REFS)}")
    if not 8 <= o.lr <= 256:
        raise InputError(f"--lr {o.lr}: it must lie between 8 and 256")
    if o.sheet and o.sheet.suffix.lower() not in (".png", ".jpg", ".webp"):
        raise InputError(f"--sheet {o.sheet}: it must end in .png, .jpg or .webp")
    model = Hime.from_pretrained(o.weights)
    if model.config.scale != o.scale:
        raise InputError(
            f"{o.weights} is a checkpoint for x{model.config.scale}, not x{o.scale}; give --scale to match"
        )
    count = MOST if o.refs == "wrong" else int(o.refs) if o.refs.isdigit() else 0
    items, skipped = read_list(o.list_file, o.data, count) if o.list_file else draw_list(o.data, count)
    if o.refs == "wrong":
        items = of_another(items)
    items = spread(items, o.limit)
    meter = Meter(Lpips(o.lpips) if o.lpips else None, Identity(o.peers) if o.peers else None)
    peers = build_peers(o.peers, o.scale) if o.peers else []
    evaluation = Evaluation(model, o.data, o.lr, int(o.refs) if o.refs.isdigit() else o.refs, meter, peers)
    sheet = Sheet(len(items))
    result = evaluation.run(track(items, description=f"{len(items)} photos", transient=True), sheet.add)
    if o.sheet:
        sheet.save(o.sheet)
    return {**result, "weights": o.weights, "skipped": skipped}


def summary(result: Record) -> str:
    """What a reader of the terminal wants to know."""
    rows = {"bicubic": result["bicubic"], "HIME": {**result["model"], **_cost(result)}}
    rows |= result.get("peers", {})
    lines = [f"{result['images']} photos ({result['skipped']} skipped), {result['weights']}, refs: {result['refs']}"]
    for name, row in rows.items():
        parts = [f"{name:26}{row['psnr']:6.2f} dB ({row['psnr_inner']:.2f} inner face)   SSIM {row['ssim']:.4f}"]
        parts += [f"{kind} {row[kind]:.4f}" for kind in ("lpips", "identity") if row[kind] is not None]
        if "params" in row:
            parts.append(f"{row['ms_per_face']:.1f} ms, {row['params'] / 1e6:.3f} M, {row['gmacs']:.3f} GMAC")
        lines.append("   ".join(parts))
    lines.append(f"gain {result['gain_db']:+.2f} dB, inner face {result['gain_inner_db']:+.2f} dB")
    return "\n".join(lines)


def _cost(result: Record) -> Record:
    return {name: result[name] for name in ("ms_per_face", "params", "gmacs")}
