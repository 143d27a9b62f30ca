"""The commands of the library; `server.cli` adds those of the relay. A command's body is imported when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from hime_core.errors import InputError

app = typer.Typer(
    name="hime",
    help="HIME Relay: gives far and blurred faces in a video call their details back.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

DEFAULT_WEIGHTS = "small-x4-call"
WEIGHTS_HELP = "A bundled checkpoint's name, or a .safetensors file."
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def enhance(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Video to enhance.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Where to write it, such as OUT.mp4.")],
    exemplars: Annotated[Path | None, typer.Option(help="Folder with sharp photos of the person.")] = None,
    layout: Annotated[str, typer.Option(help="upscale, zoom or native.")] = "upscale",
    compare: Annotated[bool, typer.Option("--compare", help="Plainly enlarged and enhanced side by side.")] = False,
    weights: Annotated[str, typer.Option(help=WEIGHTS_HELP)] = DEFAULT_WEIGHTS,
    json: Json = False,
) -> None:
    """Enhance the faces in a video file; its sound is kept."""
    from hime_core import commands

    commands.enhance(source, target, exemplars=exemplars, layout=layout, compare=compare, weights=weights, as_json=json)


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder with <identity>/<photo>.jpg, CelebAMask-HQ, or a packed file.")],
    out: Annotated[Path, typer.Option(help="Folder of the run: state, log, curve, samples, weights.safetensors.")],
    recipe: Annotated[str, typer.Option(help="rec, perceptual or call.")] = "rec",
    variant: Annotated[str, typer.Option(help="tiny, small or large.")] = "small",
    scale: Annotated[int, typer.Option(help="4 or 8.")] = 4,
    steps: Annotated[int | None, typer.Option(min=1, help="Deformable steps; 1 is the paper's Eq. 4.")] = None,
    mirrored: Annotated[
        bool,
        typer.Option("--mirrored", help="Answer with the mean over the face and its mirror image: twice the cost."),
    ] = False,
    minutes: Annotated[float, typer.Option(min=0.01, help="How long to train, resumptions counted together.")] = 60.0,
    iterations: Annotated[int | None, typer.Option(min=1, help="How many steps to train, in place of minutes.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    init: Annotated[str | None, typer.Option(help="Weights to start from: a name or a file.")] = None,
    teacher: Annotated[str | None, typer.Option(help="Weights whose pictures are matched beside the truth.")] = None,
    clips: Annotated[Path | None, typer.Option(help="Folder with videos of people close to the camera.")] = None,
    exclude: Annotated[str, typer.Option(help="Clips to leave out: names without suffix, by commas.")] = "",
    vgg: Annotated[Path | None, typer.Option(help="VGG weights [default: torchvision's download].")] = None,
    spynet: Annotated[Path | None, typer.Option(help="SpyNet weights for large.")] = None,
    losses: Annotated[str | None, typer.Option(help="Lambdas, such as rec=1,per=0.01,cor=0.1,window=3.")] = None,
    alignment: Annotated[str | None, typer.Option(help="deformable or conv (Table 2).")] = None,
    aggregation: Annotated[str | None, typer.Option(help="cofa, average or max (Table 3).")] = None,
    flips: Annotated[str, typer.Option(help="even, uneven or none (Table 7).")] = "even",
    registered: Annotated[bool, typer.Option(help="Lay references over the LR picture, as the relay does.")] = True,
    rate: Annotated[
        float, typer.Option(min=1e-6, max=1e-1, help="Adam's peak learning rate; Muon's is thrice it.")
    ] = 5e-4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the data order and the weights.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Pairs of a step [default: the recipe's; 64 on a GPU].")
    ] = None,
    echoes: Annotated[
        int | None, typer.Option(min=1, help="Times that a pair is used [default: 1; 16 on a GPU].")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that make pairs [default: 1; all cores but one for a GPU].")
    ] = None,
    critic_rate: Annotated[
        float | None, typer.Option(min=1e-6, max=1e-1, help="The discriminator's learning rate [default: --rate].")
    ] = None,
    critic: Annotated[Path | None, typer.Option(help="state.pt of a run whose discriminator to go on with.")] = None,
    varied: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the pictures that are warped and relit.")
    ] = None,
    sides: Annotated[str | None, typer.Option(help="LR sizes and their shares, such as 32=0.9,64=0.1.")] = None,
) -> None:
    """Train HIME on photos and clips, on a GPU where there is one."""
    from hime_core.training.command import TrainSettings, parse_losses, parse_sides
    from hime_core.training.command import train as run

    run(
        TrainSettings(
            data=data,
            out=out,
            recipe=recipe,
            variant=variant,
            scale=scale,
            steps=steps,
            mirrored=mirrored,
            minutes=minutes,
            iterations=iterations,
            resume=resume,
            init=init,
            teacher=teacher,
            clips=clips,
            exclude=names(exclude),
            vgg=vgg,
            spynet=spynet,
            losses=parse_losses(losses) if losses else None,
            alignment=alignment,
            aggregation=aggregation,
            flips=flips,
            registered=registered,
            rate=rate,
            seed=seed,
            threads=threads,
            batch=batch,
            echoes=echoes,
            workers=workers,
            critic_rate=critic_rate,
            critic=critic,
            varied=varied,
            lr_sides=parse_sides(sides) if sides else None,
        )
    )


@app.command()
def pack(
    data: Annotated[Path, typer.Option(help="Folder with <identity>/<photo>.jpg, or CelebAMask-HQ.")],
    out: Annotated[Path, typer.Option(help="File to write; hime train --data takes it.")],
    mib: Annotated[float, typer.Option(help="Its size at most, MiB.")] = 40.0,
    clips: Annotated[Path | None, typer.Option(help="Folder with videos of people close to the camera.")] = None,
    exclude: Annotated[str, typer.Option(help="Clips to leave out: names without suffix, by commas.")] = "",
    cache: Annotated[Path | None, typer.Option(help="Folder in which cut clips are kept, to go on later.")] = None,
    json: Json = False,
) -> None:
    """Write a training set, with faces' landmarks, into one file of a given size."""
    from hime_core import commands

    commands.pack(data, out, mib, clips=clips, exclude=names(exclude), cache=cache, as_json=json)


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Folder with <identity>/<photo>.jpg.")],
    scale: Annotated[int, typer.Option(help="4 or 8.")] = 4,
    lr: Annotated[int, typer.Option(help="Side of the LR picture, pixels.")] = 32,
    refs: Annotated[str, typer.Option(help="References: 0, 1, 2, 3, blank, or wrong (3 of another person).")] = "3",
    weights: Annotated[
        str | None, typer.Option(help=f"{WEIGHTS_HELP} [default: small-x4-rec or -x8-; in tables: all bundled]")
    ] = None,
    list: Annotated[Path | None, typer.Option(help="LIST.json of targets and references.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many photos, evenly over the people.")] = None,
    lpips: Annotated[Path | None, typer.Option(help="Folder with AlexNet and LPIPS weights: measure LPIPS.")] = None,
    peers: Annotated[
        Path | None, typer.Option(help="Folder with the peers' and the identity network's weights: compare with them.")
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="Where to write a contact sheet, such as OUT.png.")] = None,
    table: Annotated[str | None, typer.Option(help="The paper's table, 1 to 7, 8 for Figure 8, or all.")] = None,
    identity: Annotated[
        bool,
        typer.Option("--identity", help="How surely faces are recognised; with --train, limits are chosen anew."),
    ] = False,
    runs: Annotated[Path, typer.Option(help="Where tables keep figures and training runs.")] = Path("runs/evaluation"),
    train: Annotated[Path | None, typer.Option(help="Photos for ablations (tables 2, 3, 6, 7, 8), or limits.")] = None,
    iterations: Annotated[int, typer.Option(min=1, help="Steps of training of each ablation.")] = 1000,
    vgg: Annotated[Path | None, typer.Option(help="VGG weights for table 6 [default: torchvision's download].")] = None,
    clips: Annotated[Path | None, typer.Option(help="Folder with videos (tables 2, 3, 5).")] = None,
    only: Annotated[str, typer.Option(help="Clips whose names begin so, by commas.")] = "",
    report: Annotated[Path | None, typer.Option(help="Where to write all tables there are, such as OUT.md.")] = None,
    json: Annotated[Path | None, typer.Option(help="Where to write the figures.")] = None,
) -> None:
    """Measure a checkpoint against bicubic on photos, against peers, or the paper's tables."""
    from hime_core import commands
    from hime_core.evaluation.command import EvaluateOptions
    from hime_core.evaluation.tables import TableOptions

    if identity:
        commands.identity(data, runs, weights, train, peers, clips, report, json)
    elif table or report:
        settings = TableOptions(
            data=data,
            runs=runs,
            train=train,
            clips=clips,
            only=names(only),
            lpips=lpips,
            peers=peers,
            weights=weights,
            limit=limit,
            iterations=iterations,
            vgg=vgg,
        )
        commands.tables(table, settings, report=report, target=json)
    else:
        chosen = EvaluateOptions(
            data=data,
            scale=scale,
            lr=lr,
            refs=refs,
            weights=weights or f"small-x{scale}-rec",
            list_file=list,
            limit=limit,
            lpips=lpips,
            peers=peers,
            sheet=sheet,
        )
        commands.evaluate(chosen, target=json)


@app.command()
def bench(
    device: Annotated[str | None, typer.Option(help="cpu or cuda [default: cuda where there is one].")] = None,
    weights: Annotated[str, typer.Option(help=WEIGHTS_HELP)] = DEFAULT_WEIGHTS,
    json: Annotated[Path | None, typer.Option(help="Where to write the figures.")] = None,
) -> None:
    """Measure what a face costs here, by LR size, references and batch."""
    from hime_core import commands

    commands.bench(device=device, weights=weights, target=json)


def main() -> None:
    """Runs the command line. What the user got wrong is one line on stderr, and exit code 2."""
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="hime", standalone_mode=False)
    except (InputError, FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        fail(str(error))
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Exception as error:
        # Usage errors: typer has them from click, or from a copy of its own, depending on its version.
        if not hasattr(error, "format_message"):
            raise
        fail(error.format_message())
    sys.exit(code if isinstance(code, int) else 0)


def names(text: str) -> tuple[str, ...]:
    """What is given by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def fail(message: str) -> NoReturn:
    print("hime:", " ".join(message.split()), file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
