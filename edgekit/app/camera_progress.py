"""What is told while a pipeline runs: a line each second, and what the live page wants."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from edgekit.app.camera_subject import CameraSubject
from edgekit.core.events import EventSink, Note, StepProgress
from edgekit.core.power import sensor_kind

STEP: Final = "camera"
_MW: Final = 1000.0


@dataclass
class Seen:
    """What the device said of itself, second by second."""

    watts: list[float] = field(default_factory=list)
    temperatures_c: list[float] = field(default_factory=list)

    @property
    def mean_watts(self) -> float | None:
        """Mean of all seconds; ``None`` where there is no sensor."""
        return sum(self.watts) / len(self.watts) if self.watts else None

    @property
    def hottest_c(self) -> float | None:
        """Highest temperature; ``None`` where there is no sensor."""
        return max(self.temperatures_c, default=None)


class Progress:
    """Hears the runner and the agent while a pipeline runs.

    Args:
        emit: told of progress.
        subject: what runs.
        show: takes events for a page.

    Attributes:
        seen: what the device said of itself.
    """

    def __init__(
        self,
        emit: EventSink,
        subject: CameraSubject,
        show: Callable[[Mapping[str, Any]], None] = lambda _event: None,
    ) -> None:
        self.emit = emit
        self.seen = Seen()
        self._subject, self._show = subject, show
        self._away = ""
        self._bundle = 0

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take an event in."""
        phase = event.get("phase")
        if event.get("event") == "device" and phase == "power":
            event = self._power(event)
        elif event.get("event") != "camera":
            return
        elif phase == "second":
            self._second(event)
        self._show(event)

    def _second(self, event: Mapping[str, Any]) -> None:
        self.emit(StepProgress(STEP, int(event["delivered"]), None, self._words(event)))
        away, bundle = str(event.get("away") or ""), int(event.get("bundle") or 0)
        if away and not self._away:
            self.emit(Note(f"the source is gone: {away}; waiting for it", warning=True))
        elif self._away and not away:
            self.emit(Note("the source is back"))
        if bundle != self._bundle:
            self.emit(Note(f"now with {self._subject.labels[bundle]}"))
        self._away, self._bundle = away, bundle

    def _words(self, event: Mapping[str, Any]) -> str:
        words = ["frames"]
        # An emulated device's times say nothing of a board's.
        if not self._subject.device.facts.emulated:
            words.append(f"{float(event['fps']):.1f} fps")
            if event.get("latency_ms") is not None:
                words.append(f"{float(event['latency_ms']):.0f} ms")
        dropped = sum(sum(causes.values()) for causes in event["dropped"].values())
        words += [f"{dropped} dropped"] * bool(dropped)
        words += [f"{event['lost']} lost"] * bool(event["lost"])
        return ", ".join(words)

    def _power(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        watts, heat = board_watts(event.get("rails") or ()), event.get("temperature_c")
        if watts is not None:
            self.seen.watts.append(watts)
        if isinstance(heat, int | float):
            self.seen.temperatures_c.append(float(heat))
        return {"phase": "power", "watts": watts, "temperature_c": heat}


def board_watts(rails: Sequence[Mapping[str, Any]]) -> float | None:
    """Return what the board draws: what covers all of it, else all rails together.

    ``None`` where there is no sensor, or where rails may hold the same power twice.
    """
    for scope in ("board", "wall"):
        whole = [float(rail["mw"]) for rail in rails if rail.get("scope") == scope]
        if whole:
            return max(whole) / _MW
    apart = [rail for rail in rails if not rail.get("within")]
    kinds = {sensor_kind(str(rail["source"]), str(rail["sensor"])) for rail in apart}
    return sum(float(rail["mw"]) for rail in apart) / _MW if len(kinds) == 1 else None
