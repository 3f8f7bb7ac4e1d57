"""``edgekit camera profile|watch|list``: run camera pipelines on a device, see where time goes."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from edgekit.cli.options import (
    Amount,
    Duration,
    accept_licence_option,
    accept_new_option,
    device_option,
    device_options,
    json_option,
    target_option,
    threads_option,
)

if TYPE_CHECKING:
    from edgekit.app.camera_options import CameraOptions
    from edgekit.app.camera_outcome import CameraOutcome
    from edgekit.app.options import DeployOptions

_Value = TypeVar("_Value")
_BROKEN: Final = 4
_UNWRITTEN: Final = 2


@click.group()
def camera() -> None:
    """Run a pipeline from a camera to answers on a device, and see where its time goes."""


def _pipeline_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_PIPELINE):
        function = option(function)
    return function


_PIPELINE: Final = (
    click.option(
        "--source",
        metavar="SOURCE",
        help="/dev/videoN, rtsp://..., a video file, a folder of images, gst:LAUNCH, "
        "libcamera[:ID] or drawn[:WxH]; default: the recipe's.",
    ),
    click.option("--size", metavar="WxH", help="Size of the frames, such as 1280x720."),
    click.option("--format", "pixel_format", metavar="FOURCC", help="Such as YUYV, NV12 or MJPG."),
    click.option("--fps", type=Amount(0.01, 1000), metavar="N", help="Rate to ask the source for."),
    click.option(
        "--queue",
        "queues",
        multiple=True,
        metavar="[STAGE=]POLICY[:DEPTH]",
        help="Such as latest:2, or inference=block:4; policies: block, drop-oldest, latest.",
    ),
    click.option(
        "--place",
        "places",
        multiple=True,
        metavar="STAGE=CORES",
        help="Cores of a stage, such as inference=4-5; may be given again.",
    ),
    click.option(
        "--sink",
        metavar="KIND[:PATH]",
        help="Where answers go: lines:FILE, video:FILE, images:/DIR, memory[:NAME] or none; "
        "a FILE that does not begin with / is brought home.",
    ),
    click.option(
        "--batch", type=click.IntRange(1, 64), metavar="N", help="Infer so many frames together."
    ),
    click.option(
        "--memory",
        "memory_mb",
        type=click.IntRange(8, 65536),
        metavar="MB",
        help="What frames on their way may take; default: 256.",
    ),
    click.option(
        "--decode",
        metavar="HOW",
        help="reduced: no larger than the model can use (default); whole: as the camera has it.",
    ),
    click.option(
        "--seconds", type=Duration(or_none=True), metavar="TIME", help="How long; 0: to the end."
    ),
    click.option(
        "--frames", type=click.IntRange(1), metavar="N", help="Capture so many frames at most."
    ),
    click.option(
        "--power-hz",
        type=Amount(0, 1000),
        default=10.0,
        show_default=True,
        metavar="HZ",
        help="Readings of the device's power sensors; 0 for none.",
    ),
    click.option(
        "--trace",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Where the timeline for ui.perfetto.dev goes; default: beside the record.",
    ),
    click.option(
        "--layers",
        is_flag=True,
        help="Build MODEL and profile its layers before, for the timeline.",
    ),
    click.option("-e", "--engine", default="auto", metavar="NAME", help="Engine to build for."),
    click.option(
        "-p", "--precision", default="auto", metavar="NAME", help="fp32, fp16 or int8: to build."
    ),
    click.option("--model-size", metavar="N|HxW", help="Input size of the model to build."),
    threads_option,
    accept_licence_option,
)


@camera.command()
@click.argument("model", required=False)
@device_options
@_pipeline_options
def profile(model: str | None, in_json: bool, **asked: Any) -> int:  # noqa: ANN401 - click hands over whatever was declared
    """Run MODEL on a camera, and tell where every millisecond and every lost frame goes.

    What is active on the device is used if it is MODEL, or if none is named; else MODEL is built
    and sent. The recipe's table [pipeline] holds where no option is given. Ctrl-C ends it sooner,
    and what was seen is told.

    \b
    edgekit camera profile yolov5 --device bench-pi --source /dev/video0 --size 1280x720
    edgekit camera profile shapes --target local --source drawn --seconds 10
    edgekit camera profile --device bench-pi --source ./street.mp4 --sink lines:answers.jsonl
    """  # noqa: D301 - click reads the \b
    from edgekit.app.camera import profile as run
    from edgekit.cli.interrupts import stop_on_interrupt
    from edgekit.cli.output import make_output
    from edgekit.cli.views.camera import outcome_shown

    where, options = _where(model, asked), _options(asked)
    with make_output(in_json=in_json) as output:
        outcome = run(where, options, stopping=stop_on_interrupt, emit=output.emit)
        output.result(outcome.as_json(), *outcome_shown(outcome))
    return _exit_code(outcome)


@camera.command()
@click.argument("model", required=False)
@device_options
@_pipeline_options
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="N",
    help="Of the page, on this machine alone; default: any that is free.",
)
@click.option("--no-browser", is_flag=True, help="Print the page's address, and open nothing.")
def watch(model: str | None, in_json: bool, **asked: Any) -> int:  # noqa: ANN401 - as above
    """Watch MODEL on a camera live in the browser, until Ctrl-C.

    The page is served on this machine; pictures and figures come through the connection to the
    device, on which no port is opened.
    """
    from edgekit.app.camera import watch as run
    from edgekit.cli.interrupts import stop_on_interrupt
    from edgekit.cli.output import make_output
    from edgekit.cli.views.camera import outcome_shown

    def opened(url: str) -> None:
        click.echo(f"watching at {url} - Ctrl-C ends it", err=True)
        if not asked["no_browser"]:
            import webbrowser

            webbrowser.open(url)

    where, options = _where(model, asked), _options(asked)
    with make_output(in_json=in_json) as output:
        outcome = run(
            where,
            options,
            port=asked["port"],
            opened=opened,
            stopping=stop_on_interrupt,
            emit=output.emit,
        )
        output.result(outcome.as_json(), *outcome_shown(outcome))
    return _exit_code(outcome)


@camera.command("list")
@device_option
@target_option
@accept_new_option
@json_option
def list_(device: str | None, target: str | None, accept_new: bool, in_json: bool) -> None:
    """List the cameras of a device, with the formats, sizes and rates that they offer."""
    from edgekit.app.camera_list import list_cameras
    from edgekit.cli.output import make_output
    from edgekit.cli.views.camera import cameras_shown

    with make_output(in_json=in_json) as output:
        found = list_cameras(device, target, accept_new=accept_new, emit=output.emit)
        output.result(found.as_json(), *cameras_shown(found))


def _exit_code(outcome: "CameraOutcome") -> int:
    if outcome.broken:
        return _BROKEN
    return _UNWRITTEN if outcome.unwritten else 0


def _where(model: str | None, asked: dict[str, Any]) -> "DeployOptions":
    from edgekit.app.options import DeployOptions, parse_engines, parse_precisions, parse_size

    return DeployOptions(
        model=model or "",
        target=asked["target"],
        device=asked["device"],
        engines=parse_engines(asked["engine"]),
        precisions=parse_precisions(asked["precision"]),
        size=parse_size(asked["model_size"]) if asked["model_size"] else None,
        threads=asked["threads"],
        accept_new=asked["accept_new"],
        accept_licence=parse_engines(asked["accept_licence"]),
        activate=False,
        quick=True,
    )


def _options(asked: dict[str, Any]) -> "CameraOptions":
    from edgekit.app.camera_options import CameraOptions
    from edgekit.core import camera_grammar as grammar

    def read(parse: Callable[[str], _Value], text: str | None) -> _Value | None:
        return parse(text) if text is not None else None

    queue, by_stage = None, {}
    for text in asked["queues"]:
        stage, equals, rest = text.rpartition("=")
        if equals:
            by_stage[grammar.parse_stage(stage)] = grammar.parse_queue(rest)
        else:
            queue = grammar.parse_queue(rest)
    return CameraOptions(
        source=read(grammar.parse_source, asked["source"]),
        size=read(grammar.parse_frame_size, asked["size"]),
        pixel_format=read(grammar.parse_format, asked["pixel_format"]),
        fps=asked["fps"],
        seconds=asked["seconds"],
        frames=asked["frames"] or 0,
        queue=queue,
        queues=tuple(by_stage.items()),
        placement=tuple(dict(map(_place, asked["places"])).items()),
        sink=read(grammar.parse_sink, asked["sink"]),
        batch=asked["batch"],
        memory_mb=asked["memory_mb"],
        decode=read(grammar.parse_decode, asked["decode"]),
        power_hz=asked["power_hz"],
        trace=_writable(asked["trace"]),
        layers=asked["layers"],
    )


def _place(text: str) -> tuple[str, str]:
    from edgekit.core import camera_grammar as grammar
    from edgekit.core.errors import UsageError

    stage, equals, cores = text.partition("=")
    if not equals:
        raise UsageError(f"{text!r} places nothing", hint="write STAGE=CORES: inference=4-5")
    return grammar.parse_stage(stage), grammar.parse_cores(cores)


def _writable(trace: Path | None) -> Path | None:
    """Tell before a run that its timeline could not be written."""
    from edgekit.core.errors import UsageError

    if trace is not None and not trace.absolute().parent.is_dir():
        raise UsageError(
            f"the timeline cannot be written: there is no folder {trace.absolute().parent}",
            hint="make it first",
        )
    if trace is not None and trace.exists() and not trace.is_file():
        raise UsageError(f"the timeline cannot be written: {trace} is no plain file")
    return trace


COMMAND = camera
