"""``camera list``: which cameras a device has, and what each offers."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from edgekit.app.devices import known_target, locate, open_device
from edgekit.core.bundle import Bundle, RuntimePack
from edgekit.core.errors import NoPythonError
from edgekit.core.events import EventSink, ignore

if TYPE_CHECKING:
    from edgekit.core.names import Architecture
    from edgekit.device import Device

_MODULE: Final = "edgekit.onboard.camera.cameras"


@dataclass(frozen=True)
class SeenCamera:
    """One camera, and what it offers, in words."""

    path: str
    driver: str
    card: str
    offered: tuple[str, ...]


@dataclass(frozen=True)
class DeviceCameras:
    """The cameras of a device.

    Attributes:
        refused: device files that could not be opened, and why.
    """

    device: str
    cameras: tuple[SeenCamera, ...]
    refused: tuple[tuple[str, str], ...]

    def as_json(self) -> Mapping[str, Any]:
        """The cameras under the names that scripts rely on."""
        return asdict(self)


def list_cameras(
    device: str | None, target: str | None, *, accept_new: bool = False, emit: EventSink = ignore
) -> DeviceCameras:
    """Ask a device for its cameras.

    Raises:
        DeviceError: it cannot be reached.
        RunnerError: they cannot be asked.
    """
    from edgekit.device import RunRequest

    located = locate(device, target)
    with open_device(located, known_target(located), emit=emit, accept_new=accept_new) as opened:
        bundle = _lister(opened)
        opened.push(bundle.content, emit)
        opened.install(bundle)
        answers = opened.run(bundle.identity, RunRequest("infer", timeout_s=120.0)).answers
    refused = tuple((each["path"], each["refused"]) for each in answers if "refused" in each)
    return DeviceCameras(
        device=located.name,
        cameras=tuple(
            SeenCamera(
                str(each["path"]), str(each["driver"]), str(each["card"]),
                tuple(map(str, each["offered"])),
            )
            for each in answers
            if "refused" not in each
        ),
        refused=refused,
    )  # fmt: skip


def _lister(device: "Device") -> Bundle:
    """Return what asks the cameras: a runner without an engine, that nobody activates."""
    from edgekit.engines import load_engine
    from edgekit.toolbox.runner_pack import pack_runner

    facts = device.facts
    if not facts.pythons:
        raise NoPythonError(f"{device.name} has no Python", hint="see: edgekit devices probe")
    python = facts.pythons[0].executable
    # Any engine will do: its own runner is packed beside, and is not started.
    engine = load_engine("onnxruntime")
    return Bundle(
        name="camera-list",
        engine=engine.name,
        precision="fp32",
        target="any",
        architecture=cast("Architecture", facts.machine),
        compatible=(),
        files=(pack_runner(engine, _MODULE),),
        runtime=RuntimePack(hashlib.sha256(_MODULE.encode()).hexdigest(), python, ()),
        job_json="{}",
    )
