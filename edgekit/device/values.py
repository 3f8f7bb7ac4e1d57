"""What is asked of a device, and what it answers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgekit.core.health import HealthSnapshot
from edgekit.core.knobs import Knobs
from edgekit.core.measurement import BenchPlan
from edgekit.core.report import Activation

RunKind = Literal["camera", "evaluate", "infer", "profile", "time"]


@dataclass(frozen=True)
class Watch:
    """How the device is to look at itself while a runner runs.

    Attributes:
        period_s: between two looks at clocks, heat, throttling, load and memory.
        power_hz: readings of power each second, from all rails there are; 0 for none.
        idle_s: how long power is read before the run and after it.
        idle_always: whether the device is left idle so long even where it has no sensor: a meter
            on the host looks on.
        scopes: what a rail of this label covers (``board``, ``wall``, ``rail``), where its owner
            knows.
        tell: whether each look while it runs is told at once, as an event of the ``phase``
            ``power``: ``temperature_c`` of the hottest zone, and the mean of each rail since the
            look before (``rails``: ``label``, ``scope``, ``within``, ``mw``).
    """

    period_s: float = 1.0
    power_hz: float = 0.0
    idle_s: float = 0.0
    idle_always: bool = False
    scopes: tuple[tuple[str, str], ...] = ()
    tell: bool = False

    def as_json(self) -> Mapping[str, Any]:
        """What the agent is asked."""
        return {**asdict(self), "scopes": dict(self.scopes)}


@dataclass(frozen=True)
class ClockTrip:
    """One question for the device's clock: when it left, what it brought, when that came."""

    host_sent_ns: int
    device_ns: int
    host_received_ns: int


@dataclass(frozen=True)
class RunRequest:
    """One run of a bundle's runner.

    Attributes:
        kind: ``infer`` answers every frame once; ``evaluate`` does so too and brings no output
            tensors home; ``time`` does that and then measures; ``profile`` tells each layer's time
            in files that come home with ``made``; ``camera`` runs a pipeline, whose record comes
            home.
        frames: sha256 of content that was pushed before: ``.npy`` frames or ``.npz`` tensors.
        plan: how long to measure.
        knobs: instead of the bundle's own of these names.
        postprocess_json: parameters of the postprocess step, instead of those of the bundle's job
            of these names.
        timeout_s: after this long the runner is ended and counts as failed.
        made: whether to bring home what the runner made while loading that identical devices
            can take up.
        outputs: where output files go; ``None``: a folder that lives as long as the
            :class:`~edgekit.device.Device` is open.
        step: id under which progress is told.
        launcher: command on the device that is given the runner's own command and becomes it.
        watch: what is looked at meanwhile; ``None`` for nothing.
        pipeline_json: for ``camera``: a :class:`~edgekit.core.camera.PipelineSpec` as JSON.
        inputs: sha256 of content that was pushed before, and the name by which the pipeline finds
            it in the folder ``inputs``.
        kept: names of further files that the runner may write and that come home beside it.
        lighter: for ``camera``: bundles of the same engine and runtime that may take over, each
            with knobs instead of its own of these names.
        runtimes: identities of runtimes that the runner is lent, beside its bundle's own.
        grace_s: a runner that is stopped or timed out may end by itself within this time, and
            what it left is the result; 0: it is killed at once, and the run has failed.
    """

    kind: RunKind
    frames: tuple[str, ...] = ()
    plan: BenchPlan = field(default_factory=BenchPlan)
    knobs: Knobs = ()
    postprocess_json: str = "{}"
    timeout_s: float = 1800.0
    made: bool = False
    outputs: Path | None = None
    step: str = "run"
    launcher: tuple[str, ...] = ()
    watch: Watch | None = None
    pipeline_json: str | None = None
    inputs: tuple[tuple[str, str], ...] = ()
    kept: tuple[str, ...] = ()
    lighter: tuple[tuple[str, Knobs], ...] = ()
    runtimes: tuple[str, ...] = ()
    grace_s: float = 0.0


@dataclass(frozen=True)
class RunResult:
    """What a runner that ended well left behind.

    Attributes:
        model_ns: samples of the engine's call alone, in order; empty unless it was timed.
        end_to_end_ns: samples of preprocess, model and postprocess.
        load_ns: from the start of loading to the first answer being possible.
        memory_peak_bytes: peak resident set of the runner process.
        outputs: for each frame the output tensors by name, as ``.npy`` files on the host; only
            after ``infer``.
        answers: for each frame what postprocess answered, as JSON values.
        duration_ns: the whole life of the runner process.
        made: what it made while loading, by name, as files on the host; empty unless asked for.
        spans_ns: when ``model`` and ``end_to_end`` began and ended, by the device's monotonic
            clock.
        health: the device's state before, during and after it; empty unless it was watched.
        power: readings of power, as the agent's sampler tells them; ``None`` unless asked for.
        camera: folder on the host with the record of a pipeline; ``None`` for other kinds.
        cancelled: whether it was stopped before its time.
    """

    model_ns: tuple[int, ...]
    end_to_end_ns: tuple[int, ...]
    load_ns: int | None
    memory_peak_bytes: int | None
    versions: Mapping[str, str]
    outputs: tuple[Mapping[str, Path], ...]
    answers: tuple[Any, ...]
    duration_ns: int
    made: tuple[tuple[str, Path], ...] = ()
    spans_ns: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    health: tuple[HealthSnapshot, ...] = ()
    power: Mapping[str, Any] | None = None
    camera: Path | None = None
    cancelled: bool = False


@dataclass(frozen=True)
class InstalledBundle:
    """An activated bundle, as its manifest on the device describes it.

    Attributes:
        input_shapes: of its model's inputs, in graph order; empty where its manifest tells none.
        python: the interpreter that it runs on, or its version.
        wheels: file names of those in its runtime.
    """

    bundle: str
    name: str
    engine: str
    precision: str
    target: str
    knobs: tuple[tuple[str, str | int], ...]
    generation: int
    activated_s: int
    classes: tuple[str, ...] = ()
    input_shapes: tuple[tuple[int, ...], ...] = ()
    python: str = ""
    wheels: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeviceStatus:
    """What stands on a device.

    Attributes:
        current: what is active.
        previous: what a rollback would bring back.
        bundles: identities of everything installed.
        store_bytes, partial_bytes: content that is complete, and content still arriving.
    """

    current: InstalledBundle | None
    previous: InstalledBundle | None
    bundles: tuple[str, ...]
    store_bytes: int
    partial_bytes: int
    disk_free_bytes: int | None

    @property
    def activation(self) -> Activation | None:
        """What is active and what would come back; ``None`` where nothing is active."""
        if self.current is None:
            return None
        previous = self.previous.bundle if self.previous else None
        return Activation(self.current.bundle, previous, self.current.generation, changed=False)


@dataclass(frozen=True)
class StandsFor:
    """What another device is, whose folder is made here.

    Attributes:
        machine: its userland's architecture, as ``uname -m`` prints it.
        compatible: strings of its device tree.
    """

    machine: str
    compatible: tuple[str, ...] = ()

    def as_json(self) -> Mapping[str, Any]:
        """Return it as the agent reads it."""
        return {"machine": self.machine, "compatible": list(self.compatible)}
