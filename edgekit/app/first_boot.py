"""What a device is to have in ``~/.edgekit`` when it boots for the first time.

The folder is made here by the agent itself, so that it is what a deployment would have left on
the device: agent, bundle, the runtime that it needs, and one generation that is active.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgekit.app.bundles import Feasible, assemble, candidates, feasible
from edgekit.app.models import prepared_model, resolve_recipe
from edgekit.app.search import threads_worth_trying
from edgekit.core.bundle import Bundle
from edgekit.core.errors import EngineError, UsageError
from edgekit.core.events import EventSink, StepFinished, StepStarted, ignore
from edgekit.core.flash import ImageSoftware
from edgekit.core.model import Model
from edgekit.core.names import EngineName, Precision
from edgekit.core.target import DeviceFacts, PythonFacts, Target
from edgekit.flash.provision.values import HomeFile

# What serves wherever there are wheels, in the order of how widely.
_ENGINES: Final[tuple[EngineName, ...]] = ("onnxruntime", "ncnn", "tflite", "openvino", "mnn")
_STEP: Final = "first-bundle"
_HOME: Final = ".edgekit"
_LOCK: Final = "lock"


@dataclass(frozen=True)
class FirstBundle:
    """What is to be active at first.

    Attributes:
        model: a recipe's name, or the path of an ONNX file.
        engine: ``None`` for the first that serves such a board. Nothing is measured: that is for
            ``edgekit deploy``, once the device runs.
        precision: not int8, whose accuracy has to be judged on a device.
        threads: ``None`` for the cores of the target's fastest cluster.
        size: input height and width in pixels, ``None`` for the recipe's own.
    """

    model: str
    engine: EngineName | None = None
    precision: Precision = "fp32"
    threads: int | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Staged:
    """A folder that is to become ``~/.edgekit`` of the device's user.

    Attributes:
        agent_sha256: of the agent's file.
        bundle: identity of what is active; ``None`` where there is the agent alone.
    """

    folder: Path
    agent_sha256: str
    bundle: str | None = None
    engine: EngineName | None = None
    precision: Precision | None = None

    def as_json(self) -> Mapping[str, Any]:
        """Return it under the names that scripts rely on."""
        return {
            "agent": self.agent_sha256,
            "bundle": self.bundle,
            "engine": self.engine,
            "precision": self.precision,
        }


def stage(
    target: Target,
    software: ImageSoftware,
    folder: Path,
    wanted: FirstBundle | None = None,
    *,
    emit: EventSink = ignore,
) -> Staged:
    """Make the folder, with the agent and, if one is wanted, an active bundle.

    Args:
        target: the kind of board.
        software: of the image that the folder is for.
        folder: to be made; it must not exist.
        wanted: the first bundle.
        emit: hears of builds and progress.

    Raises:
        UsageError: what was asked for cannot be meant.
        EngineError: the engine cannot serve this model on such a board, or the build failed.
    """
    from edgekit.device import LocalAddress, StandsFor, connect
    from edgekit.device.agent_pack import pack_agent

    if folder.exists():
        raise UsageError(f"{folder} is there already", hint="name a folder to be made")
    bundle = None if wanted is None else first_bundle(wanted, target, software, emit=emit)
    with connect(LocalAddress(root=folder)) as device:
        if bundle is not None:
            device.push(bundle.content, emit)
            device.install(
                bundle, emit, stands_for=StandsFor(target.architecture, target.compatible)
            )
            device.activate(bundle.identity)
    agent = pack_agent().sha256
    if bundle is None:
        return Staged(folder, agent)
    return Staged(folder, agent, bundle.identity, bundle.engine, bundle.precision)


def home_files(staged: Staged) -> tuple[HomeFile, ...]:
    """Return the folder as what is to be put into the home of the device's user."""
    found = [HomeFile(_HOME, mode=0o755)]
    for path in sorted(staged.folder.rglob("*")):
        name = f"{_HOME}/{path.relative_to(staged.folder).as_posix()}"
        if path.is_symlink():
            found.append(HomeFile(name, link=str(path.readlink())))
        elif path.is_dir():
            found.append(HomeFile(name, mode=0o755))
        elif path.name != _LOCK:
            found.append(HomeFile(name, path, mode=path.stat().st_mode & 0o777))
    return tuple(found)


def first_bundle(
    wanted: FirstBundle, target: Target, software: ImageSoftware, *, emit: EventSink = ignore
) -> Bundle:
    """Build the bundle for a board that is not there yet.

    Raises:
        UsageError: what was asked for cannot be meant.
        EngineError: no engine that may be used serves this model on such a board.
    """
    if wanted.precision == "int8":
        raise UsageError(
            "a first bundle cannot be int8: its accuracy is judged on the device",
            hint="--precision fp32 or fp16 now, and edgekit deploy once the device runs",
        )
    facts = facts_of(target, software)
    recipe = resolve_recipe(wanted.model)
    model = prepared_model(recipe, wanted.size, emit=emit)
    plan = _plan(wanted, model, target, facts)
    emit(StepStarted(_STEP, f"Build {plan.candidate} for the first boot"))
    try:
        bundle = assemble(plan, model, target, facts, emit=emit)
    except BaseException:
        emit(StepFinished(_STEP, "failed", ok=False))
        raise
    emit(StepFinished(_STEP, f"{bundle.size_bytes / 1e6:.1f} MB"))
    return bundle


def facts_of(target: Target, software: ImageSoftware) -> DeviceFacts:
    """Return what is known of a board before it has ever run: its kind, and its image."""
    parts = tuple(
        part
        for cluster in target.clusters
        if (part := cluster.midr_part) is not None
        for _ in range(cluster.count)
    )
    return DeviceFacts(
        hostname="",
        machine=target.architecture,
        kernel="",
        os_name="",
        libc="glibc",
        libc_version=software.glibc,
        model=None,
        compatible=target.compatible,
        cpu_parts=parts,
        cpu_features=target.features,
        cpu_count=target.cores,
        cpu_usable=target.cores,
        memory_total_bytes=None,
        memory_available_bytes=None,
        disk_free_bytes=None,
        pythons=(PythonFacts("/usr/bin/python3", software.python),),
        agent_version="",
        home="",
        emulated=False,
    )


def _plan(wanted: FirstBundle, model: Model, target: Target, facts: DeviceFacts) -> Feasible:
    threads = wanted.threads or threads_worth_trying(target, facts)[0]
    engines = (wanted.engine,) if wanted.engine else _ENGINES
    refused = []
    for candidate in candidates(engines, (wanted.precision,), threads):
        plan = feasible(candidate, model, target, facts)
        if isinstance(plan, Feasible):
            return plan
        refused.append((candidate, plan))
    if wanted.engine:
        (_candidate, refusal) = refused[0]
        raise EngineError(refusal.reason, hint=refusal.hint)
    reasons = "; ".join(f"{candidate}: {refusal.reason}" for candidate, refusal in refused)
    raise EngineError(
        f"no engine serves {wanted.model} on {target.name} as a first bundle: {reasons}",
        hint="flash without --bundle, and edgekit deploy once the device runs",
    )
