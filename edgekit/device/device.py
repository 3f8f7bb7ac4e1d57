"""A device, opened: what the rest of edgekit asks of it."""

import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from edgekit.core.bundle import Bundle, BundleFile, RuntimePack
from edgekit.core.clocks import ClockPlan, ReleasedClocks
from edgekit.core.closing import Closing
from edgekit.core.contracts import Transport
from edgekit.core.errors import AgentError, WrongDeviceError
from edgekit.core.events import EventSink, StepFinished, StepProgress, StepStarted, ignore
from edgekit.core.health import HealthSnapshot
from edgekit.core.report import Activation, Transfer
from edgekit.core.target import DeviceFacts, PythonFacts, Target
from edgekit.device import runs, transfer
from edgekit.device.address import Address, LocalAddress
from edgekit.device.client import AgentClient
from edgekit.device.clocks import ClockPin, fixed_clocks, tell_of_recovered
from edgekit.device.values import (
    ClockTrip,
    DeviceStatus,
    InstalledBundle,
    RunRequest,
    RunResult,
    StandsFor,
)

_GC_GRACE_S: Final = 24 * 3600


class Device(Closing):
    """An agent that answers, on a device. Ends with :meth:`close`, or as a context manager."""

    def __init__(self, transport: Transport, client: AgentClient, facts: DeviceFacts) -> None:
        self.facts = facts
        self._transport = transport
        self._client = client
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._runs = 0

    @property
    def name(self) -> str:
        """What the user calls the device."""
        return self._transport.name

    def push(self, files: Sequence[BundleFile], emit: EventSink = ignore) -> Transfer:
        """Send the content that the device lacks.

        Raises:
            DiskFullError: it would not fit.
            ConnectionLostError: the link broke; the next call goes on from there.
        """
        return transfer.push(self._client, files, emit)

    def install(
        self, bundle: Bundle, emit: EventSink = ignore, *, stands_for: StandsFor | None = None
    ) -> None:
        """Make a bundle of content that was pushed, and the runtime it needs.

        Args:
            bundle: whose content it is.
            emit: hears how far it is.
            stands_for: the device for which this one's folder is being made, to be put into a
                disk image; ``None``: this one itself.

        Raises:
            WrongDeviceError: the bundle is for another kind of device.
            DiskFullError: the runtime would not fit.
        """
        step = "install"
        emit(StepStarted(step, f"Install {bundle.name} for {bundle.engine} {bundle.precision}"))

        def on_event(event: Mapping[str, Any]) -> None:
            emit(StepProgress(step, int(event["done"]), int(event["total"]), "B"))

        try:
            asked: dict[str, Any] = {"manifest": bundle.manifest_bytes.decode()}
            if stands_for is not None:
                asked["stands_for"] = stands_for.as_json()
            made = self._client.request("install", asked, on_event=on_event)
        except BaseException:
            emit(StepFinished(step, "failed", ok=False))
            raise
        emit(StepFinished(step, "" if made["bundle_made"] else "was there already"))

    def install_runtime(self, runtime: RuntimePack, emit: EventSink = ignore) -> None:
        """Make a runtime that belongs to no bundle, of wheels that were pushed.

        Raises:
            DiskFullError: it would not fit.
        """
        step = "install-runtime"
        emit(StepStarted(step, f"Install {', '.join(each.path for each in runtime.wheels)}"))

        def on_event(event: Mapping[str, Any]) -> None:
            emit(StepProgress(step, int(event["done"]), int(event["total"]), "B"))

        asked = {"runtime": runtime.as_json()}
        try:
            made = self._client.request("install_runtime", asked, on_event=on_event)
        except BaseException:
            emit(StepFinished(step, "failed", ok=False))
            raise
        emit(StepFinished(step, "" if made["runtime_made"] else "was there already"))

    def activate(self, bundle_id: str) -> Activation:
        """Make an installed bundle the device's current one."""
        return _activation(self._client.request("activate", {"bundle": bundle_id}))

    def rollback(self) -> Activation:
        """Make current again what was so before.

        Raises:
            AgentError: nothing was (code ``no_previous``).
        """
        return _activation(self._client.request("rollback"))

    def status(self) -> DeviceStatus:
        """Return what is active and what stands on the device."""
        answer = self._client.request("status")
        return DeviceStatus(
            current=_installed(answer["current"]),
            previous=_installed(answer["previous"]),
            bundles=tuple(answer["bundles"]),
            store_bytes=int(answer["store_bytes"]),
            partial_bytes=int(answer["partial_bytes"]),
            disk_free_bytes=answer["disk_free_bytes"],
        )

    def run(
        self,
        bundle_id: str,
        request: RunRequest,
        emit: EventSink = ignore,
        listen: Callable[[Mapping[str, Any]], None] | None = None,
        stop: threading.Event | None = None,
    ) -> RunResult:
        """Run an installed bundle's runner on frames that were pushed, or on what a camera sees.

        ``listen`` hears each event of the runner's own, as it says it; events of one phase are
        thinned out on the way. Once ``stop`` is set, the run is ended; what a request with
        ``grace_s`` has so far is its result.

        Raises:
            RunnerError: the runner crashed, timed out, or left no result.
            DeviceError: it could not be started, or the link broke.
        """
        outputs = request.outputs or self._new_folder()
        hear = runs.hearer(request, emit, listen)
        return runs.run(self._client, bundle_id, request, outputs, hear, stop)

    def health(self) -> HealthSnapshot:
        """Look at clocks, heat, throttling, load and memory, now."""
        return HealthSnapshot.from_json(self._client.request("health"))

    def clock_trips(self, count: int = 10) -> tuple[ClockTrip, ...]:
        """Ask for the device's monotonic clock, and note the host's around each question."""
        trips = []
        for _ in range(count):
            sent_ns = time.monotonic_ns()
            device_ns = int(self._client.request("clock")["monotonic_ns"])
            trips.append(ClockTrip(sent_ns, device_ns, time.monotonic_ns()))
        return tuple(trips)

    def fixed_clocks(
        self, plan: ClockPlan | None = None, emit: EventSink = ignore
    ) -> AbstractContextManager[ClockPin]:
        """Pin the device's clocks within a ``with`` block, as far as it permits.

        Raises:
            AgentError: another session holds them pinned (code ``busy``).
            DeviceError: the link broke; the device puts its clocks back by itself.
        """
        return fixed_clocks(self._client, plan or ClockPlan(), emit)

    def gc(self, grace_s: int = _GC_GRACE_S) -> int:
        """Throw away what neither current nor previous needs; return the bytes freed.

        Args:
            grace_s: what is younger stays: a deployment under way may be about to use it.
        """
        return int(self._client.request("gc", {"grace_s": grace_s})["freed_bytes"])

    def close(self) -> None:
        """End the agent and give the connection back."""
        try:
            self._client.close()
        finally:
            self._transport.close()
            if self._folder is not None:
                self._folder.cleanup()

    def _new_folder(self) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="edgekit-runs-")
        self._runs += 1
        return Path(self._folder.name) / str(self._runs)


def connect(
    address: Address,
    *,
    emit: EventSink = ignore,
    accept_new: bool = False,
    lost_after_s: float | None = None,
) -> Device:
    """Reach a device, bring up the agent there, and read the device's facts.

    Args:
        address: where it is.
        emit: takes notes, such as of a host key that was accepted.
        accept_new: trust a host key that is unknown so far.
        lost_after_s: silence after which the link counts as lost; ``None``: as ``Limits`` has it.

    Raises:
        DeviceError: it cannot be reached, or the agent cannot run there.
    """
    transport = _transport(address, emit=emit, accept_new=accept_new, lost_after_s=lost_after_s)
    try:
        client = AgentClient.start(transport)
        answer = client.request("hello")
        if answer.get("clocks_recovered"):
            tell_of_recovered(ReleasedClocks.from_json(answer["clocks_recovered"]), emit)
        return Device(transport, client, _facts(answer["facts"]))
    except BaseException:
        transport.close()
        raise


def _transport(
    address: Address, *, emit: EventSink, accept_new: bool, lost_after_s: float | None
) -> Transport:
    if isinstance(address, LocalAddress):
        from edgekit.device.local import LocalTransport

        return LocalTransport(address)
    from edgekit.device.ssh import SshTransport
    from edgekit.device.ssh_link import Limits

    limits = None if lost_after_s is None else Limits(lost_after_s=lost_after_s)
    return SshTransport(address, emit=emit, accept_new=accept_new, limits=limits)


def check_target(facts: DeviceFacts, target: Target) -> None:
    """Refuse a device that is not what the target says.

    Raises:
        WrongDeviceError: its architecture or its device tree is another's.
    """
    found = facts.model or facts.hostname
    if facts.machine != target.architecture:
        raise WrongDeviceError(
            f"{found} is {facts.machine}, but target {target.name} is {target.architecture}",
            hint="choose the target that the board is: edgekit targets",
        )
    if target.compatible and not set(target.compatible) & set(facts.compatible):
        says = ", ".join(facts.compatible) or "nothing (it has no device tree)"
        raise WrongDeviceError(
            f"{found} is no {target.title}: its device tree says {says}, "
            f"the target wants one of {', '.join(target.compatible)}",
            hint="choose the target that the board is: edgekit targets",
        )


def _facts(answer: Mapping[str, Any]) -> DeviceFacts:
    known: dict[str, Any] = {f.name: answer.get(f.name) for f in fields(DeviceFacts)}
    try:
        known["pythons"] = tuple(PythonFacts(**python) for python in answer["pythons"])
        for name in ("compatible", "cpu_parts", "cpu_features"):
            known[name] = tuple(answer[name])
        return DeviceFacts(**known)
    except (KeyError, TypeError) as error:
        raise AgentError(f"the agent's facts are incomplete: {error!r}", code="protocol") from error


def _activation(answer: Mapping[str, Any]) -> Activation:
    return Activation(
        current=answer["current"],
        previous=answer["previous"],
        generation=int(answer["generation"]),
        changed=bool(answer["changed"]),
    )


def _installed(answer: Mapping[str, Any] | None) -> InstalledBundle | None:
    if answer is None:
        return None
    return InstalledBundle(
        bundle=answer["bundle"],
        name=answer["name"],
        engine=answer["engine"],
        precision=answer["precision"],
        target=answer["target"],
        knobs=tuple(sorted(answer["knobs"].items())),
        generation=int(answer["generation"]),
        activated_s=int(answer["activated_s"]),
        classes=tuple(answer["classes"]),
        input_shapes=tuple(tuple(map(int, shape)) for shape in answer["input_shapes"]),
        python=str(answer["python"]),
        wheels=tuple(answer["wheels"]),
    )
