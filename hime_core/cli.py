"""The `hime` command. Each command's body is a module of its own, imported when the command runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hime_core.errors import InputError

app = typer.Typer(
    name="hime",
    help="HIME Relay: gives far and blurred faces in a video call their details back.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

DEFAULT_WEIGHTS = "small-x4-rec"
WEIGHTS_HELP = "A bundled checkpoint's name, or a .safetensors file."
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one [default: 8080].")] = None,
    data: Annotated[Path | None, typer.Option(help="Directory of the database and photos [default: data].")] = None,
    weights: Annotated[str | None, typer.Option(help="A bundled checkpoint's name, or a .safetensors file.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda [default: auto].")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error [default: info].")] = None,
) -> None:
    """Start the relay. Every setting can also be given as an environment variable, such as HIME_PORT."""
    from server.serve import run

    run(host=host, port=port, data=data, weights=weights, device=device, log_level=log_level)


@app.command()
def doctor(json: Json = False) -> None:
    """Check that everything the relay needs is here and works; exit code 1 where something is missing."""
    from server.doctor import run

    raise typer.Exit(run(as_json=json))


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

    commands.enhance(source, target, exemplars, layout, compare, weights, json)


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder with <identity>/<photo>.jpg.")],
    out: Annotated[Path, typer.Option(help="Folder of the run: state, log, samples, weights.safetensors.")],
    recipe: Annotated[str, typer.Option(help="rec.")] = "rec",
    variant: Annotated[str, typer.Option(help="small.")] = "small",
    scale: Annotated[int, typer.Option(help="4 or 8.")] = 4,
    steps: Annotated[int, typer.Option(min=1, help="Deformable steps; 1 is the paper's Eq. 4.")] = 4,
    minutes: Annotated[float, typer.Option(min=0.01, help="How long to train, resumptions counted together.")] = 60.0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the data order and the weights.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
) -> None:
    """Train HIME on photos, on a GPU where there is one."""
    from hime_core.training.command import train as run

    run(data, out, recipe, variant, scale, steps, minutes, resume, seed, threads)


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Folder with <identity>/<photo>.jpg.")],
    scale: Annotated[int, typer.Option(help="4 or 8.")] = 4,
    lr: Annotated[int, typer.Option(help="Side of the LR picture, pixels.")] = 32,
    refs: Annotated[str, typer.Option(help="References: 0, 1, 2, 3 or blank.")] = "3",
    weights: Annotated[str, typer.Option(help=WEIGHTS_HELP)] = DEFAULT_WEIGHTS,
    list: Annotated[Path | None, typer.Option(help="LIST.json of targets and references.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many photos.")] = None,
    json: Annotated[Path | None, typer.Option(help="Where to write the figures.")] = None,
) -> None:
    """Measure a checkpoint against bicubic on photos."""
    from hime_core import commands

    commands.evaluate(data, scale, lr, refs, weights, list, limit, json)


@app.command()
def bench(
    device: Annotated[str | None, typer.Option(help="cpu or cuda [default: cuda where there is one].")] = None,
    weights: Annotated[str, typer.Option(help=WEIGHTS_HELP)] = DEFAULT_WEIGHTS,
    json: Annotated[Path | None, typer.Option(help="Where to write the figures.")] = None,
) -> None:
    """Measure what a face costs here, by LR size, references and batch."""
    from hime_core import commands

    commands.bench(device, weights, json)


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


def fail(message: str) -> None:
    print("hime:", " ".join(message.split()), file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
