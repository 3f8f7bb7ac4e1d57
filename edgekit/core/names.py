"""Names that scripts rely on, and the rule that every other name obeys."""

import difflib
import re
from collections.abc import Iterable
from typing import Final, Literal, get_args

from edgekit.core.errors import UnknownNameError, UsageError

EngineName = Literal[
    "onnxruntime", "ncnn", "tflite", "openvino", "mnn", "paddlelite", "rknn", "tensorrt", "tvm"
]
Precision = Literal["fp32", "fp16", "int8"]
Status = Literal["ok", "gate", "failed", "skipped", "unsupported", "invalid"]
Architecture = Literal["aarch64", "armv7l", "x86_64"]
FlashMethodName = Literal["sdcard", "rockusb", "rpiboot", "jetson", "ab-update"]

ENGINE_NAMES: Final[tuple[str, ...]] = get_args(EngineName)
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
ARCHITECTURES: Final[tuple[Architecture, ...]] = get_args(Architecture)
FLASH_METHOD_NAMES: Final[tuple[FlashMethodName, ...]] = get_args(FlashMethodName)

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def is_name(text: str) -> bool:
    """Tell whether ``text`` may name a target, recipe, device or bundle."""
    return _NAME.fullmatch(text) is not None


def check_name(text: str, kind: str) -> str:
    """Return ``text`` if it may be a name.

    Raises:
        UsageError: it holds something outside ``[a-z0-9][a-z0-9._-]*``.
    """
    if not is_name(text):
        raise UsageError(
            f"{text!r} cannot name a {kind}",
            hint="use lower-case letters, digits, '.', '_' and '-'; begin with a letter or digit",
        )
    return text


def nearest(text: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return up to three known names that look like ``text``, best first."""
    return tuple(difflib.get_close_matches(text, list(known), n=3, cutoff=0.5))


def unknown_name(kind: str, text: str, known: Iterable[str]) -> UnknownNameError:
    """Make the error for a name that nothing has, with what was probably meant."""
    names = sorted(known)
    near = nearest(text, names)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}"
    return UnknownNameError(f"no {kind} is named {text!r}", hint=hint)
