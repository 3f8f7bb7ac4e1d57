"""OpenCV on the device: lent to a pipeline's runner where its Python has none that it can use."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.core.camera import PipelineSpec
from edgekit.core.contracts import RuntimeSpec
from edgekit.core.errors import ToolboxError
from edgekit.core.events import EventSink, Note
from edgekit.core.target import DeviceFacts, PythonFacts

if TYPE_CHECKING:
    from edgekit.device import Device

PACKAGE: Final = "opencv-python-headless"
_NUMPY: Final = re.compile(r"numpy-(\d[^-]*)-.*\.whl")
_JPEGS: Final = ("MJPG", "JPEG")


@dataclass(frozen=True)
class Interpreter:
    """What a bundle runs on: the Python, and the wheels of its runtime."""

    python: str
    wheels: tuple[str, ...]

    @property
    def numpy(self) -> str | None:
        """Version of the runtime's own NumPy; ``None``: it takes the device's."""
        found = [match[1] for match in map(_NUMPY.fullmatch, self.wheels) if match]
        return found[0] if found else None


def opencv_lock() -> Path:
    """Return the lock of OpenCV for boards."""
    import edgekit.toolbox

    return Path(edgekit.toolbox.__file__).parent / "opencv" / "board.txt"


def needs_opencv(spec: PipelineSpec) -> bool:
    """Tell whether the pipeline cannot do without."""
    return (
        spec.source.kind in {"video", "rtsp", "folder"}
        or spec.source.format in _JPEGS
        or spec.sink.kind == "video"
    )


def uses_opencv(spec: PipelineSpec) -> bool:
    """Tell whether it does better with it: pictures as small as JPEGs."""
    return spec.preview is not None or spec.sink.kind == "images"


def has_opencv(interpreter: Interpreter, facts: DeviceFacts) -> bool:
    """Tell whether the device's own OpenCV goes with the runtime's NumPy.

    What was compiled for one NumPy takes a newer one of the same major version, and no other.
    """
    python = _facts_of(interpreter.python, facts)
    if python is None or not python.opencv:
        return False
    if interpreter.numpy is None:
        return True
    if python.numpy is None:
        return False
    own, brought = _version(python.numpy), _version(interpreter.numpy)
    return own[0] == brought[0] and own <= brought


def lend_opencv(
    device: "Device", interpreter: Interpreter, spec: PipelineSpec, *, emit: EventSink
) -> tuple[str, ...]:
    """Put OpenCV on the device if the pipeline wants it; return the runtimes to be lent.

    Raises:
        ToolboxError: the pipeline cannot do without, and no wheel is to be had.
        DiskFullError: it would not fit.
    """
    from edgekit.toolbox.wheels import resolve

    facts = device.facts
    needed = needs_opencv(spec)
    if not (needed or uses_opencv(spec)) or has_opencv(interpreter, facts):
        return ()
    python = _facts_of(interpreter.python, facts)
    if python is None:
        return ()  # the agent will say that it is not there
    try:
        pack = resolve(RuntimeSpec(python, opencv_lock(), (PACKAGE,)), facts, emit=emit)
    except ToolboxError as error:
        if needed:
            raise ToolboxError(error.message, hint=_HINT) from error
        emit(Note(f"no OpenCV for the device, pictures are PNG: {error.message}", warning=True))
        return ()
    device.push(pack.wheels, emit)
    device.install_runtime(pack, emit)
    return (pack.identity,)


_HINT: Final = (
    "install it there (apt install python3-opencv), or choose a source that needs none: "
    "/dev/videoN with --format YUYV"
)


def _facts_of(python: str, facts: DeviceFacts) -> PythonFacts | None:
    """Find a Python by its path, or by the beginning of its version."""
    for each in facts.pythons:
        if python == each.executable or f"{each.version}.".startswith(f"{python}."):
            return each
    return None


def _version(text: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", text)[:2]]
