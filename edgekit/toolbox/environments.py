"""Isolated environments, made once by uv from a hash-locked file."""

import hashlib
import json
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.catalog.cache import KeyedCache, cache_root
from edgekit.core.contracts import ToolboxSpec
from edgekit.core.errors import ToolboxError
from edgekit.core.events import EventSink, StepFinished, StepStarted
from edgekit.toolbox.interpreters import search_path
from edgekit.toolbox.process import last_lines, new_log, run_logged

# In each environment: the name of what it is for, which its folder's name does not tell.
_NOTE: Final = "edgekit-toolbox"
# Counts up when environments are made in another way.
_LAYOUT: Final = 1
_TIMEOUT_S: Final = 1800.0
_NO_NETWORK: Final = re.compile(
    r"dns error|failed to lookup|connection refused|network is unreachable|tcp connect|"
    r"could not connect|error sending request|timed out|network (was|is) disabled|"
    r"no such host|temporary failure in name resolution",
    re.IGNORECASE,
)
_NO_PYTHON: Final = re.compile(r"no interpreter found|no python", re.IGNORECASE)


@dataclass(frozen=True)
class Environment:
    """A toolbox that is ready.

    Attributes:
        python: its interpreter.
        lock_sha256: hash of the requirement file that it was made from.
    """

    python: Path
    lock_sha256: str


def lock_sha256(spec: ToolboxSpec) -> str:
    """Return the hash of the toolbox's requirement file.

    Raises:
        OSError: the file cannot be read.
    """
    return hashlib.sha256(spec.requirements.read_bytes()).hexdigest()


def own_python(python: Path) -> list[str]:
    """Return the command that starts a toolbox's interpreter: isolated, its bytecode kept.

    What an engine imports takes seconds to compile, so it is compiled once for all builds. It
    stands beside the toolboxes and not in them, nor beside edgekit's own files.
    """
    return [str(python), "-I", "-X", f"pycache_prefix={cache_root() / 'bytecode'}"]


def is_ready(spec: ToolboxSpec) -> bool:
    """Tell whether the environment for ``spec`` is there. Makes nothing."""
    held = KeyedCache(cache_root() / "toolboxes").get(_key(spec, lock_sha256(spec)))
    return held is not None and (held / "bin" / "python").exists()


def toolbox_path(spec: ToolboxSpec) -> Path:
    """Return where the environment for ``spec`` stands, or would stand.

    Raises:
        OSError: its requirement file cannot be read.
    """
    return KeyedCache(cache_root() / "toolboxes").path_of(_key(spec, lock_sha256(spec)))


def made_as(toolbox: Path) -> str:
    """Return under which name an environment was made, empty where it does not tell."""
    try:
        return (toolbox / _NOTE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _key(spec: ToolboxSpec, lock: str) -> str:
    facts = [_LAYOUT, spec.name, spec.python, spec.dependencies, lock, platform.machine()]
    if not spec.declared_python:
        facts.append("any declared python")
    return json.dumps(facts)


def environment(spec: ToolboxSpec, *, emit: EventSink) -> Environment:
    """Return the environment for ``spec``; make it if it is not there.

    Of several processes that want it, one makes it and the others wait. Nothing half-made is
    ever seen.

    Args:
        spec: name, Python and locked requirements.
        emit: told of the step, if something is to be made.

    Raises:
        ToolboxError: no such Python on this machine, no network, or a package that is not to
            be had; the log's path and last lines are in the message.
    """
    lock = lock_sha256(spec)
    key = _key(spec, lock)
    cache = KeyedCache(cache_root() / "toolboxes")
    held = cache.get(key)
    if held is not None:
        if (held / "bin" / "python").exists():
            return Environment(held / "bin" / "python", lock)
        # The interpreter it was made with has left the machine.
        cache.discard(key)
    step = f"toolbox:{spec.name}"
    emit(StepStarted(step, f"Make the {spec.name} toolbox (once)"))
    log = new_log(cache_root() / "logs", f"toolbox-{spec.name}")
    try:
        made = cache.build(
            key,
            lambda folder: _make(spec, folder, log),
            emit=emit,
            subject=f"the {spec.name} toolbox",
        )
    except BaseException:
        emit(StepFinished(step, "failed", ok=False))
        raise
    emit(StepFinished(step, "ready"))
    return Environment(made / "bin" / "python", lock)


def _make(spec: ToolboxSpec, folder: Path, log: Path) -> None:
    import uv

    try:
        program = uv.find_uv_bin()
    except FileNotFoundError as error:
        raise ToolboxError(
            "uv, which makes toolboxes, is not installed beside edgekit",
            hint="pip install uv (into the environment that edgekit runs in)",
        ) from error
    # The folder is renamed into its place afterwards: nothing in it may name where it stood.
    _run(
        [program, "venv", "--no-project", "--no-config", "--relocatable", "--allow-existing",
         "--python", spec.python, str(folder)],
        spec,
        log,
    )  # fmt: skip
    python = str(folder / "bin" / "python")
    if spec.declared_python:
        install = [program, "pip", "install", "--python", python]
    else:
        # uv refuses a package that declares another Python, whatever it is told; pip can be told.
        install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-compile"]
        install += ["--ignore-requires-python", "--disable-pip-version-check", "--no-input"]
        install += ["--retries=2"]
    install += ["--require-hashes", "--only-binary", ":all:", "-r", str(spec.requirements)]
    if not spec.dependencies:
        install.append("--no-deps")
    _run(install, spec, log)
    # uv's own marks of the moment; the environment is found by its key.
    shutil.rmtree(folder / ".lock", ignore_errors=True)
    (folder / _NOTE).write_text(f"{spec.name}\n", encoding="utf-8")


def _run(command: list[str], spec: ToolboxSpec, log: Path) -> None:
    what = f"the {spec.name} toolbox could not be made"
    # The user's own activated environment is none of the toolbox's business.
    environment = {
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
        "VIRTUAL_ENV": "",
        "PATH": search_path(),
    }
    try:
        status = run_logged(command, log, timeout_s=_TIMEOUT_S, environment=environment)
    except (TimeoutError, OSError) as error:
        raise ToolboxError(f"{what}: {error}", hint=f"log: {log}") from error
    if status != 0:
        said = _fault(log)
        raise ToolboxError(f"{what}:\n{said}\n  log: {log}", hint=_hint(said, spec))


def _fault(log: Path) -> str:
    """Return what uv says is wrong, without what it did before."""
    said = last_lines(log)
    begins = re.search(r"^ *(error:|\u00d7)", said, re.MULTILINE)
    return said[begins.start() :] if begins else said


def _hint(said: str, spec: ToolboxSpec) -> str:
    if _NO_PYTHON.search(said):
        return f"install Python {spec.python}; edgekit downloads no interpreters"
    if _NO_NETWORK.search(said):
        return "a package index must be reachable, once; after that the toolbox is kept"
    return "read the log; a proxy or mirror may be set for uv (UV_INDEX_URL, HTTPS_PROXY)"
