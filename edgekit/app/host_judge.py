"""Int8 settings judged on this machine, on the calibration side alone.

The engine's own files run here under its own runtime, so that a board is not kept busy with
settings that will not be used, and the images that tell its accuracy are never looked at.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from edgekit.app.arena import Arena, frame_content
from edgekit.app.bundles import Feasible, assemble
from edgekit.app.lanes import Lane
from edgekit.app.memory import Memory
from edgekit.catalog.cache import FileLock, cache_root
from edgekit.core.bundle import Bundle
from edgekit.core.contracts import Unsupported
from edgekit.core.errors import EngineError
from edgekit.core.events import ignore
from edgekit.core.quantisation import CalibrationSet, Quantisation
from edgekit.core.target import Target

if TYPE_CHECKING:
    from edgekit.device import Device
    from edgekit.prepare.evaluation import EvaluationSet

_TIMEOUT_S: Final = 900.0


class HostJudge:
    """Tells how much accuracy an int8 build loses on the calibration side, on this machine."""

    def __init__(self, arena: Arena, side: "EvaluationSet") -> None:
        self._arena = arena
        self._side = side
        self._memory = Memory(cache_root() / "judged", "host")
        self._stack = ExitStack()
        self._device: Device | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def refusal(self, lane: Lane) -> str:
        """Return why the lane's engine cannot run on this machine, empty if it can."""
        if lane.plan.engine.tunable and self._arena.target.name != _local().name:
            return f"its code is {self._arena.target.name}'s own"
        found = self._plan(lane)
        return found.reason if isinstance(found, Unsupported) else ""

    def drop(self, lane: Lane, quantisation: Quantisation, calibration: CalibrationSet) -> float:
        """Build, run and score one way to make the lane's model int8.

        Raises:
            EngineError: it cannot be built, or its runner fails.
        """
        arena, side = self._arena, self._side
        bundle = self._bundle(lane, quantisation, calibration)
        key = ("judged", replace(bundle, knobs=()).identity, side.identity)
        held = self._memory.recall(*key)
        if held is None:
            # All of a user's deployments judge on one device root, whose agent refuses a second.
            lock = cache_root() / "host-device.lock"
            with FileLock(lock, arena.emit, "int8 settings on this machine"):
                held = self._memory.recall(*key) or self._judged(bundle, key)
        return float(held["drop"])

    def _judged(self, bundle: Bundle, key: tuple[str, ...]) -> Mapping[str, Any]:
        from edgekit.app.accuracy import score
        from edgekit.device import RunRequest
        from edgekit.prepare.scoring import reference_answers

        arena, side = self._arena, self._side
        expected = reference_answers(side, arena.model, emit=ignore)
        device = self._connected()
        device.push(frame_content(side.frames), ignore)
        device.push(bundle.content, ignore)
        device.install(bundle, ignore)
        request = RunRequest(
            kind="evaluate",
            frames=tuple(frame.sha256 for frame in side.frames),
            postprocess_json=side.postprocess_json,
            timeout_s=_TIMEOUT_S,
        )
        with arena.stopwatch.lap("judge"):
            result = device.run(bundle.identity, request, ignore)
            accuracy = score(side, expected, result.answers, max_drop=arena.limits.max_drop)
        return self._memory.keep({"drop": accuracy.drop}, *key)

    def _bundle(
        self, lane: Lane, quantisation: Quantisation, calibration: CalibrationSet
    ) -> Bundle:
        plan = self._plan(lane)
        if isinstance(plan, Unsupported):
            raise EngineError(plan.reason, hint=plan.hint)
        candidate = replace(lane.candidate, quantisation=quantisation)
        with self._arena.stopwatch.lap("build"):
            bundle = assemble(
                replace(plan, candidate=candidate),
                self._arena.model,
                self._arena.target,
                self._connected().facts,
                calibration=calibration,
                emit=self._arena.emit,
            )
        # The files are the target's; only who runs them is another.
        host = _local()
        return replace(bundle, target=host.name, architecture=host.architecture, compatible=())

    def _plan(self, lane: Lane) -> Feasible | Unsupported:
        runtime = lane.plan.engine.runtime(_local(), self._connected().facts)
        if isinstance(runtime, Unsupported):
            return runtime
        return Feasible(lane.candidate, lane.plan.engine, runtime)

    def _connected(self) -> "Device":
        from edgekit.device import connect
        from edgekit.device.address import LocalAddress

        if self._device is None:
            address = LocalAddress(cache_root() / "host-device")
            self._device = self._stack.enter_context(connect(address))
        return self._device


def _local() -> Target:
    from edgekit.catalog.targets import load_target

    return load_target("local")
