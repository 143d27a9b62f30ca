"""docs/results.md: what `hime evaluate --table` measured, beside the paper's figures."""

from __future__ import annotations

from pathlib import Path

from hime_core.errors import InputError
from hime_core.evaluation import identity
from hime_core.evaluation.maps import write_maps
from hime_core.evaluation.store import Record, Store, write_json
from hime_core.evaluation.table import Table, as_dict, from_dict
from hime_core.evaluation.tables import TABLES, TableOptions, Tables, where

MAPS = "correlation-maps.png"
HEADINGS = {
    "1": "Table 1: quality and cost",
    "2": "Table 2: feature alignment",
    "3": "Table 3: feature aggregation",
    "4": "Table 4: number of references",
    "5": "Table 5: temporal gap between input and references",
    "6": "Table 6: losses",
    "7": "Table 7: face chirality",
    "8": "Figure 8: window of the correlation loss",
}
ON_CLIPS = ("2", "3", "5")
COLUMNS = {  # heading, digits
    "psnr": ("PSNR, dB", ".2f"),
    "psnr_inner": ("inner face, dB", ".2f"),
    "ssim": ("SSIM", ".4f"),
    "lpips": ("LPIPS", ".4f"),
    "identity": ("identity", ".3f"),
    "psnr_gain": ("gain, dB", "+.2f"),
    "psnr_inner_gain": ("gain on the inner face, dB", "+.2f"),
    "clip_blank": ("clips, blank, dB", ".2f"),
    "clip_psnr": ("clips, 30 frames, dB", ".2f"),
    "ms_per_face": ("ms a face", ".1f"),
    "params": ("parameters, M", ".2f"),
    "gmacs": ("GMAC", ".2f"),
}
PREFACE = """# Results

Written by `hime evaluate --data DIR --table N --report docs/results.md`; do not edit. "Paper" is Xiang et al., 2021, on
CelebAMask-HQ; ours is another, much smaller set of people, so that gains and orders compare, not absolute figures.
HR is the photo by Pillow's BOX, LR and bicubic by Pillow's BICUBIC, all in 8 bits; PSNR and SSIM are torchmetrics' on
RGB in [0, 1], LPIPS is v0.1 over AlexNet, identity the cosine of InceptionResnetV1 embeddings with the truth's. "Inner
face" is the square of half the headshot's side around the face box's centre. The people, photos and references are the
same for every method and number of references. Milliseconds are medians of processor time on a CPU, registration of the
references included. What calls gain, with the codec and the gate in between, is in [calls.md](calls.md).
"""
NOTES = {
    "1": """MACs are counted by torch's FlopCounterMode (half its FLOPs) on the network with three references: those of
convolutions and matrix products, the deformable kernels' among them, and not bilinear samples, biases and activations.
The paper leaves the widths open. The layout of standard layers that comes closest to its figures has 32 channels and
four deformable steps (five in large); a checkpoint with fewer steps is smaller than the row "as built" says. The
paper's 9.23 M parameters for large are explained by no layout that meets its MACs: SpyNet has 1.44 M, and the rest
differs from small by one deformable step. The `rec` checkpoints answer with the mean over a face and its mirror image
(self-ensemble, Lim et al., 2017), which costs twice the MACs and which the paper does not say of its own; "one pass" is
the same network without. Real-ESRGAN and RealSR know neither the person nor a scale other than 4. Photos with fewer
pixels of their own than the truth are left out.""",
    "2": "Trained and measured with references as they are, in the last row registered first, as the relay does. On "
    "clips of people who were not trained on they are frames 30 before and after, laid over by their landmarks, in the "
    "last row by flow too, beside a blank one.",
    "3": "References are registered, in training and here. Clips as in Table 2.",
    "4": "The paper trains a network for each number; ours is one network, tested with each. Wrong references are "
    "registered like the right ones.",
    "5": "References are the frames that many before and after, in the last table the nearest of 30 and 60 before "
    "and after; all are cut and registered as in a call. Wrong references are of the next clip.",
    "6": "The paper's figures for this table are not in the text that we have. With per and adv the run begins from "
    "rec and takes a quarter of its steps; on a CPU the critics see a part of each picture. The perceptual loss has "
    "VGG-16 in VGG-19's place where VGG-19 is not to be had.",
    "7": "Even: input and references mirrored together; uneven: each by itself.",
    "8": "The paper draws this as curves without figures.",
}


NAME_OF_IDENTITY = "identity"
IDENTITY = """{people} people whom nobody was trained on, {photos} photos. A probe is one photo as a call shows it,
compared with three others of a person (two or three of its own), made equally coarse: "clean" is the headshot reduced
by area, "coded" comes from the end of a call of 320×180 over VP8 at 60 kbit/s with the landmarks that MTCNN sees there,
and "3 looks" is the mean embedding of three moments of it. "Same at" is the cosine from which two faces are one person,
chosen on {held_out} other people at 1 in {accepts:.0f}, whatever the condition, and {margin} more; "false" is the share
of other people's faces that reach it, "missed" that of a person's own that do not, and "others told" that of other
people's faces below the cosine under which two faces are two people; at most {denied:.1%} of a person's own are below
it. The photos are of years and occasions that lie apart; faces of one call are more alike.
"""


def check_report(report: Path | None) -> None:
    """Raises InputError."""
    if report and report.suffix != ".md":
        raise InputError(f"--report {report}: it must end in .md")


def make_tables(names: list[str], options: TableOptions) -> dict[str, list[Record]]:
    """Measures tables into the runs folder. Raises InputError; what was measured until then is kept."""
    found = {}
    for name in names:
        tables = Tables(options)
        found[name] = as_dict(tables.make(name))
        source = f"photos `{where(options.data)}`" + (f", at most {options.limit}" if options.limit else "")
        if options.clips and name in ON_CLIPS:
            clips = f"clips `{where(options.clips)}`" + (f" ({', '.join(options.only)})" if options.only else "")
            source = clips if name == "5" else f"{source}; {clips}"
        used = tables.store.used
        content = {
            "data": source,
            "machines": sorted({kept["machine"] for kept in used}),
            "seconds": sum(kept["seconds"] for kept in used),
            "tables": found[name],
        }
        write_json(options.runs / f"table-{name}.json", content)
    return found


def write_report(path: Path, runs: Path) -> None:
    """The report of all tables in the runs folder, and Figure 6 beside it, at a .md path. Raises InputError."""
    store = Store(runs)
    write_maps(path.parent / MAPS)
    parts = [PREFACE]
    for name, heading in HEADINGS.items():
        kept = store.read(f"table-{name}")
        parts.append(f"## {heading}\n")
        if kept is None:
            parts.append(f"Not measured yet: `hime evaluate --data DIR --table {name} --report {path.name}`.\n")
        else:
            parts += [
                NOTES[name] + "\n",
                f"{kept['data']}; {', '.join(kept['machines'])}; {_duration(kept['seconds'])}.\n",
            ]
            parts += [render(table) for table in from_dict(kept["tables"])]
        if name == "5":
            parts.append(f"## Figure 6: correlation maps\n\n![correlation maps]({MAPS})\n")
            parts.append("scikit-image's astronaut at 128×128, and Σ M_cor for windows of 3, 5 and 7: blue is fine "
                         "texture, red is smooth and far from the mean.\n")  # fmt: skip
    parts.append(_recognition(store.read(NAME_OF_IDENTITY), path.name))
    partial = path.with_name(path.name + ".partial")
    partial.write_text("\n".join(parts))
    partial.replace(path)


def _recognition(kept: Record | None, name: str) -> str:
    if kept is None:
        text = f"Not measured yet: `hime evaluate --identity --data DIR --report {name}`."
    else:
        denied = max(row["denied"] for row in kept["rows"])
        facts = {
            "held_out": identity.HELD_OUT,
            "accepts": 1 / identity.FALSE_ACCEPTS,
            "margin": identity.MARGIN,
            "denied": denied,
        }
        text = f"{IDENTITY.format(**kept, **facts)}\n{kept['data']}; {kept['machine']}.\n\n{identity.render(kept)}"
    return f"## Whose face it is\n\n{text.rstrip()}\n"


def render(table: Table) -> str:
    """Markdown. A column that nobody measured is left out; the paper's stands beside ours where it has one."""
    columns = [
        (name, source)
        for name in table.columns
        for source in ("ours", "paper")
        if any(getattr(row, source).get(name) is not None for row in table.rows)
    ]
    heads = [table.what, *("paper" if source == "paper" else COLUMNS[name][0] for name, source in columns)]
    lines = [f"**{table.title}**", "", _line(heads), "|---" + "|---:" * len(columns) + "|"]
    for row in table.rows:
        values = [(getattr(row, source).get(name), COLUMNS[name][1]) for name, source in columns]
        lines.append(_line([row.name, *("–" if value is None else format(value, form) for value, form in values)]))
    return "\n".join(lines) + "\n"


def chosen(table: str) -> list[str]:
    """The tables that `--table` names. Raises InputError."""
    if table == "all":
        return list(TABLES)
    if table not in TABLES:
        raise InputError(f"--table {table}: it must be one of {', '.join(TABLES)} (8 is Figure 8) or all")
    return [table]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes of measuring" if seconds >= 120 else f"{seconds:.0f} seconds of measuring"
