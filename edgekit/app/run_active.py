"""``run``: what is active on a device answers images of the user's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.app.arena import frame_content
from edgekit.app.devices import known_target, locate, open_device
from edgekit.core.errors import DeviceError
from edgekit.core.events import EventSink, ignore


@dataclass(frozen=True)
class ImageAnswers:
    """What a model answered to one image: plain JSON values, as its postprocess step says."""

    image: Path
    answers: Any


@dataclass(frozen=True)
class RunOutcome:
    """Answers of the bundle that is active on a device."""

    device: str
    bundle: str
    name: str
    classes: tuple[str, ...]
    images: tuple[ImageAnswers, ...]


def run_active(
    images: Sequence[Path],
    device: str | None,
    target: str | None,
    *,
    accept_new: bool = False,
    emit: EventSink = ignore,
) -> RunOutcome:
    """Run the bundle that is active on a device on images.

    Raises:
        UsageError: an image cannot be read.
        DeviceError: nothing is active there, or it cannot be reached.
        RunnerError: the runner failed.
    """
    from edgekit.device import RunRequest
    from edgekit.prepare.frames import frames_of

    frames = frames_of(images)
    located = locate(device, target)
    with open_device(located, known_target(located), emit=emit, accept_new=accept_new) as opened:
        active = opened.status().current
        if active is None:
            raise DeviceError(
                f"nothing is active on {located.name}",
                hint="put something there first: edgekit deploy MODEL",
            )
        opened.push(frame_content(frames), emit)
        request = RunRequest(kind="infer", frames=tuple(frame.sha256 for frame in frames))
        result = opened.run(active.bundle, request, emit)
    return RunOutcome(
        device=located.name,
        bundle=active.bundle,
        name=active.name,
        classes=active.classes,
        images=tuple(
            ImageAnswers(image, answers)
            for image, answers in zip(images, result.answers, strict=True)
        ),
    )
