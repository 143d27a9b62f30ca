"""The `hime` command: the library's commands, and those that run the relay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hime_core.cli import WEIGHTS_HELP, Json, app, main, names

__all__ = ["app", "main"]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one [default: 8080].")] = None,
    data: Annotated[Path | None, typer.Option(help="Directory of the database and photos [default: data].")] = None,
    weights: Annotated[str | None, typer.Option(help="A bundled checkpoint's name, or a .safetensors file.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda [default: auto].")] = None,
    workers: Annotated[
        str | None,
        typer.Option(metavar="N", help="Processes that carry calls [default: auto, one for every four cores]."),
    ] = None,
    cluster: Annotated[
        bool | None, typer.Option("--cluster", help="Be one node of several machines (docs/cluster.md).")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error [default: info].")] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file with settings (docs/settings.md).")
    ] = None,
) -> None:
    """Start the relay. Every setting can also be given as an environment variable, such as HIME_PORT, or in a file."""
    from server.serve import run

    run(
        host=host,
        port=port,
        data=data,
        weights=weights,
        device=device,
        workers=workers,
        cluster=cluster,
        log_level=log_level,
        config=config,
    )


@app.command()
def doctor(
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Check a running relay from here: its address, or an invitation for a guest."),
    ] = None,
    json: Json = False,
) -> None:
    """Check that all the relay needs is here and works, its network too; exit code 1 where something is missing."""
    from server.doctor import run

    raise typer.Exit(run(as_json=json, url=url))


data_app = typer.Typer(help="The photos' keys, and the log of what was done with photos.", no_args_is_help=True)
app.add_typer(data_app, name="data")
DataDirectory = Annotated[Path | None, typer.Option(help="The relay's data directory [default: data].")]


@data_app.command("key")
def data_key(
    add: Annotated[
        bool, typer.Option("--add", help="Put it first into the key file instead: it encrypts from the next start on.")
    ] = False,
    data: DataDirectory = None,
) -> None:
    """Print a new key for HIME_DATA_KEY or HIME_DATA_KEY_FILE."""
    from server.data import key as run

    run(add=add, data=data)


@data_app.command("rotate")
def data_rotate(json: Json = False, data: DataDirectory = None) -> None:
    """Encrypt all photos anew under the newest key; exit code 1 where some could not be. The relay may run."""
    from server.data import rotate as run

    raise typer.Exit(run(as_json=json, data=data))


@data_app.command("audit")
def data_audit(
    person: Annotated[str | None, typer.Option(help="Only what was done with this person's photos.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only what this caller did, by the subject of its token.")] = None,
    json: Json = False,
    data: DataDirectory = None,
) -> None:
    """Show who consented, looked at, used and deleted photos. The log holds no names: it is asked by name."""
    from server.data import audit as run

    run(person=person, actor=actor, as_json=json, data=data)


@app.command()
def join(
    url: Annotated[str, typer.Argument(metavar="URL", help="A relay's address, or an invitation as the page has it.")],
    publish: Annotated[Path | None, typer.Option(metavar="CLIP", help="Video file to send.")] = None,
    record: Annotated[Path | None, typer.Option(metavar="OUT", help="Write what is watched (.mp4, .mkv).")] = None,
    watch: Annotated[
        str, typer.Option(metavar="NAME", help="Whom [default: the first other one, or oneself where alone].")
    ] = "",
    room: Annotated[str | None, typer.Option(help="Room, where the link names none.")] = None,
    name: Annotated[str | None, typer.Option(help="Under which name, where neither link nor token says.")] = None,
    token: Annotated[str | None, typer.Option(envvar="HIME_TOKEN", help="Room token, where the link has none.")] = None,
    view: Annotated[str, typer.Option(help="enhanced, original or compare.")] = "enhanced",
    layout: Annotated[str, typer.Option(help="upscale, zoom or native.")] = "upscale",
    loop: Annotated[bool, typer.Option("--loop", help="Begin the clip again when it has ended.")] = False,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Leave after that time.")] = None,
    rejoin: Annotated[
        bool,
        typer.Option("--rejoin", help="Join again when the connection or the relay is lost."),
    ] = False,
    json: Json = False,
) -> None:
    """Join a room without a browser: send a clip, record whom you see."""
    from server.client.join import JoinOptions
    from server.client.join import join as run
    from server.client.link import parse_link

    link = parse_link(url, room, name, token)
    run(JoinOptions(link, publish, record, watch, view, layout, loop, seconds, rejoin), json)


@app.command()
def load(
    url: Annotated[str, typer.Argument(metavar="URL", help="A relay's address; any that speaks WHIP and WHEP.")],
    calls: Annotated[
        int | None, typer.Option(min=1, max=2000, help="How many [default: 1; 500 at most with --until-full].")
    ] = None,
    clip: Annotated[
        Path | None, typer.Option(metavar="CLIP", help="Video that is sent [default: a portrait that moves away].")
    ] = None,
    steps: Annotated[str, typer.Option(help="Measure at these numbers of calls, by commas, such as 1,2,4,8.")] = "",
    until_full: Annotated[
        bool, typer.Option("--until-full", help="Go on until a call is refused or not held.")
    ] = False,
    watchers: Annotated[int, typer.Option(min=1, max=100, help="Of each call.")] = 1,
    ramp: Annotated[float, typer.Option(min=0, help="Seconds from one call to the next.")] = 0.5,
    settle: Annotated[float, typer.Option(min=0, help="Seconds from the last call to the measurement.")] = 2.0,
    seconds: Annotated[float, typer.Option(min=1, help="How long is measured.")] = 10.0,
    limit_ms: Annotated[float, typer.Option(min=1, help="In which 95 % of a held call's frames come.")] = 300.0,
    view: Annotated[str, typer.Option(help="enhanced or original.")] = "enhanced",
    layout: Annotated[str, typer.Option(help="upscale or native.")] = "upscale",
    width: Annotated[int | None, typer.Option(help="Pixels that watchers show, as the API has it.")] = None,
    codec: Annotated[str, typer.Option(help="VP8 or H264.")] = "VP8",
    kbps: Annotated[int, typer.Option(help="At which the clip is encoded.")] = 500,
    size: Annotated[str, typer.Option(help="To which, such as 320x180 [default: the clip's shape, 640 pixels].")] = "",
    loop_from: Annotated[float, typer.Option(min=0, help="Second at which the clip begins again.")] = 0.0,
    room: Annotated[str | None, typer.Option(help="What the rooms' names begin with [default: load].")] = None,
    together: Annotated[bool, typer.Option("--together", help="All in one room.")] = False,
    token: Annotated[str | None, typer.Option(envvar="HIME_TOKEN", help="Sent with each request.")] = None,
    key: Annotated[
        str | None,
        typer.Option(
            envvar="HIME_API_KEY", metavar="NAME:SECRET", help="API key: a token for each call is made by it."
        ),
    ] = None,
    whip: Annotated[str, typer.Option(help="Path of another relay's WHIP.")] = "/whip/{room}/{name}",
    whep: Annotated[str, typer.Option(help="Path of another relay's WHEP.")] = "/whep/{room}/{name}",
    processes: Annotated[int, typer.Option(min=1, max=64, help="That share the calls.")] = 1,
    json: Json = False,
) -> None:
    """Hold many calls at once against a relay, and measure what their watchers get; exit code 1 if nothing could be."""
    from server.client.load.command import LoadOptions
    from server.client.load.command import load as run
    from server.demo.command import CLIP

    options = LoadOptions(
        url=url,
        clip=clip or CLIP,
        calls=calls,
        steps=steps,
        watchers=watchers,
        room=room,
        together=together,
        ramp=ramp,
        settle=settle,
        seconds=seconds,
        until_full=until_full,
        limit_ms=limit_ms,
        view=view,
        layout=layout,
        width=width,
        codec=codec,
        kbps=kbps,
        size=size,
        loop_from=loop_from,
        token=token,
        key=key,
        whip=whip,
        whep=whep,
        processes=processes,
    )
    raise typer.Exit(run(options, json))


@app.command()
def demo(
    clip: Annotated[
        Path | None, typer.Option(metavar="CLIP", help="Video to show [default: a portrait that moves away].")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the relay; 0 takes a free one.")] = 8080,
    weights: Annotated[str, typer.Option(help=f"{WEIGHTS_HELP} auto: the relay's choice.")] = "auto",
) -> None:
    """Start a relay, send it a clip, and print the link to watch it by; no camera is needed. Ctrl-C ends it."""
    from server.demo.command import demo as run

    run(clip, port, weights)


@app.command()
def key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is called.")],
    rights: Annotated[str, typer.Option(help="tokens, people, observe, by commas [default: all].")] = "",
) -> None:
    """Make an API key: prints its secret, and the line that the relay keeps of it."""
    from server.access.commands import make_key

    make_key(name, rights)


@app.command()
def token(
    room: Annotated[str, typer.Option(help="The room that it lets into.")],
    name: Annotated[str, typer.Option("--as", help="Whom it is for.")],
    publish: Annotated[bool, typer.Option("--publish", help="May publish; without either flag, both.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="May watch.")] = False,
    admin: Annotated[bool, typer.Option("--admin", help="May invite guests to the room.")] = False,
    minutes: Annotated[int, typer.Option(min=1, max=60 * 24 * 366, help="How long it lets in.")] = 60,
    link: Annotated[str | None, typer.Option(help="The page's URL: print the invitation link.")] = None,
    key: Annotated[str | None, typer.Option(help="The API key that signs [default: the first].")] = None,
    data: Annotated[Path | None, typer.Option(help="The relay's directory [default: data].")] = None,
) -> None:
    """Make a room token with the relay's keys (HIME_API_KEYS, HIME_API_KEYS_FILE)."""
    from server.access.commands import make_token

    make_token(
        room, name, publish=publish, watch=watch, admin=admin, minutes=minutes, link=link, key=key, data=data
    )  # fmt: skip


@app.command()
def prove(
    clips: Annotated[Path, typer.Argument(metavar="CLIPS", help="Folder with videos of people on camera.")],
    out: Annotated[Path, typer.Option(help="Folder of the results; what is finished in it is not measured again.")],
    kbps: Annotated[str, typer.Option(help="The uplink's rates, kbit/s, by commas.")] = "20,40,80,160,320",
    sizes: Annotated[str, typer.Option(help="Sizes of the picture sent, by commas.")] = "320x180,640x360",
    codecs: Annotated[str, typer.Option(help="VP8, H264 or both, by commas.")] = "VP8,H264",
    headshots: Annotated[
        str | None, typer.Option(help="Pixels of a close face in the picture sent [default: 96 at 180p, 160 at 360p].")
    ] = None,
    exemplars: Annotated[str, typer.Option(help="How many at most, by commas; 0 is always measured.")] = "1,3",
    only: Annotated[str, typer.Option(help="Clips whose names begin so, by commas.")] = "",
    layout: Annotated[str, typer.Option(help="upscale or native.")] = "upscale",
    weights: Annotated[str, typer.Option(help=f"{WEIGHTS_HELP} auto: the relay's choice.")] = "auto",
    critics: Annotated[
        Path | None,
        typer.Option("--critics", "--lpips", help="Folder with the weights for LPIPS and identity: measure both."),
    ] = None,
    peers: Annotated[Path | None, typer.Option(help="Folder with Real-ESRGAN's weights: compare with it.")] = None,
    keyframe: Annotated[bool, typer.Option("--keyframe", help="Begin the low rate with one, as after a loss.")] = False,
    speed: Annotated[
        float, typer.Option(min=0.1, max=1.0, help="Below 1: send in slow motion, for a machine that is too slow.")
    ] = 1.0,
    short: Annotated[bool, typer.Option("--short", help="Three rates, the first size and codec alone.")] = False,
    json: Json = False,
) -> None:
    """Send clips through real calls at low bitrates, and measure what arrives of their faces."""
    from server.proof import plan
    from server.proof.command import ProveOptions
    from server.proof.command import prove as run

    matrix = plan.Matrix(
        kbps=plan.parse_kbps(kbps),
        sizes=plan.parse_sizes(sizes),
        codecs=plan.parse_codecs(codecs),
        headshots=plan.parse_headshots(headshots) if headshots else None,
    )
    options = ProveOptions(
        clips=clips,
        out=out,
        only=names(only),
        matrix=matrix,
        timing=plan.Timing(keyframe=keyframe, speed=speed),
        exemplars=plan.parse_exemplars(exemplars),
        layout=plan.parse_layout(layout),
        weights=weights,
        critics=critics,
        peers=peers,
        short=short,
    )
    raise typer.Exit(run(options, json))


if __name__ == "__main__":
    main()
