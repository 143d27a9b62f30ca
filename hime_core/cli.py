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
