"""Engines: one folder each, found by name, imported when used."""

import importlib
from pathlib import Path
from typing import cast

from edgekit.core.contracts import Engine
from edgekit.core.names import ENGINE_NAMES, EngineName, unknown_name

_FOLDER = Path(__file__).parent


def engine_names() -> tuple[EngineName, ...]:
    """Return the engines that have a folder here, in the order in which tables list them."""
    return tuple(
        cast("EngineName", name)
        for name in ENGINE_NAMES
        if (_FOLDER / name / "__init__.py").is_file()
    )


def load_engine(name: str) -> Engine:
    """Import an engine; cheap, for an engine's class is all facts.

    Raises:
        UnknownNameError: there is no such engine here.
    """
    if name not in engine_names():
        raise unknown_name("engine", name, engine_names())
    engine: Engine = importlib.import_module(f"edgekit.engines.{name}").ENGINE
    return engine
