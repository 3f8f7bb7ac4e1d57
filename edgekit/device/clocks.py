"""Clocks pinned within a ``with`` block; the device itself undoes it where the block cannot."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final

from edgekit.core.clocks import ClockPlan, PinnedClocks, ReleasedClocks
from edgekit.core.errors import ConnectionLostError, EdgekitError, UsageError
from edgekit.core.events import EventSink, Note
from edgekit.device.client import AgentClient

_JOIN_S: Final = 2.0
_LEAST_RENEWALS: Final = 2
"""Signs of life that must fit into a lease, so that one which is late ends nothing."""


class ClockPin:
    """Clocks that are pinned while the block runs.

    Attributes:
        pinned: what the device took, clock by clock.
        released: after the block, what became of them; ``None`` where the link was lost, and the
            device puts them back unseen.
    """

    def __init__(self, pinned: PinnedClocks) -> None:
        self.pinned = pinned
        self.released: ReleasedClocks | None = None


@contextmanager
def fixed_clocks(client: AgentClient, plan: ClockPlan, emit: EventSink) -> Iterator[ClockPin]:
    """Pin the device's clocks within a ``with`` block, as far as it permits.

    Raises:
        AgentError: another session holds them pinned (code ``busy``).
        DeviceError: the link broke; the device puts its clocks back by itself.
        UsageError: no renewal fits into the lease.
    """
    if plan.lease_s < plan.renew_s * _LEAST_RENEWALS:
        raise UsageError(f"a lease of {plan.lease_s:g} s is too short for {plan.renew_s:g} s")
    answer = client.request(
        "pin_clocks",
        {
            "lease_s": plan.lease_s,
            "khz": {str(policy): khz for policy, khz in plan.khz},
            "devices": plan.devices,
        },
    )
    pin = ClockPin(PinnedClocks.from_json(answer))
    tell_of_recovered(pin.pinned.recovered, emit)
    if not pin.pinned.clocks:
        yield pin
        return
    with _SignsOfLife(client, plan.renew_s):
        try:
            yield pin
        finally:
            _release(client, pin, emit)


class _SignsOfLife:
    """Tells the agent every few seconds that this host lives, whatever else it is about."""

    def __init__(self, client: AgentClient, period_s: float) -> None:
        self._client = client
        self._period_s = period_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="edgekit-renew", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(_JOIN_S)

    def _tell(self) -> None:
        # A lost link is told by whoever waits for an answer on it.
        with suppress(EdgekitError, OSError):
            while not self._over.wait(self._period_s):
                self._client.renew()


def _release(client: AgentClient, pin: ClockPin, emit: EventSink) -> None:
    try:
        pin.released = ReleasedClocks.from_json(client.request("release_clocks"))
    except ConnectionLostError:
        # Whatever ended the block (Ctrl-C, a lost link) is on its way up already.
        emit(Note("the device puts its clocks back by itself, within seconds", warning=True))
        return
    _tell_of_trouble(pin.released, emit)


def _tell_of_trouble(released: ReleasedClocks, emit: EventSink) -> None:
    if released.ended != "released":
        text = f"the clocks were put back before the end: {released.ended}"
        emit(Note(text, warning=True))
    for file, value, found in released.differing:
        text = f"{file} held {found} at the end, and was set to {value}"
        emit(Note(f"{text}; it was left so" if file in released.left else text, warning=True))
    _tell_of_failed(released, emit)


def tell_of_recovered(recovered: ReleasedClocks | None, emit: EventSink) -> None:
    """Tell that clocks which a former session had left pinned were put back, or were not."""
    if recovered is not None and (recovered.restored or recovered.failed):
        emit(Note("clocks that a former session had left pinned were put back"))
        _tell_of_failed(recovered, emit)


def _tell_of_failed(released: ReleasedClocks, emit: EventSink) -> None:
    for file, why in released.failed:
        emit(Note(f"{file} could not be put back ({why})", warning=True))
