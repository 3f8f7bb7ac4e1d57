"""Ways of flashing: one file each, found by name, imported when used."""

import importlib
from pathlib import Path

from edgekit.core.flash_method import FlashMethod
from edgekit.core.names import FLASH_METHOD_NAMES, FlashMethodName, unknown_name

_FOLDER = Path(__file__).parent


def method_names() -> tuple[FlashMethodName, ...]:
    """Return the methods that have a file here, in the order in which tables list them."""
    return tuple(name for name in FLASH_METHOD_NAMES if (_FOLDER / f"{_stem(name)}.py").is_file())


def load_method(name: str) -> FlashMethod:
    """Import a method.

    Raises:
        UnknownNameError: there is no such method here.
    """
    if name not in method_names():
        raise unknown_name("flash method", name, method_names())
    method: FlashMethod = importlib.import_module(f"edgekit.flash.methods.{_stem(name)}").METHOD
    return method


def _stem(name: str) -> str:
    return name.replace("-", "_")
