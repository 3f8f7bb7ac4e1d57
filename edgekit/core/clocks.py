"""Clocks that are pinned for a run: what was asked, what the device took, and what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Self

from edgekit.core.agent_json import Table, as_table, many, needed, tables, text, whole, word, wrong

DomainKind = Literal["cpu", "device"]

_GIGA: Final = 1e9


@dataclass(frozen=True)
class ClockPlan:
    """How to pin a device's clocks.

    Attributes:
        khz: clocks by the number of their cpufreq policy; every other is pinned at the highest
            that its limits allow.
        devices: whether to pin devices such as a GPU too, at the highest clock of their limits.
        lease_s: after this long without a sign of life the device undoes it by itself.
        renew_s: how often the host gives one.
    """

    khz: tuple[tuple[int, int], ...] = ()
    devices: bool = True
    lease_s: float = 6.0
    renew_s: float = 2.0


@dataclass(frozen=True)
class ClockState:
    """What governs one clock at a moment; ``None`` where the device does not tell."""

    governor: str | None = None
    min_hz: int | None = None
    max_hz: int | None = None
    current_hz: int | None = None

    @classmethod
    def from_json(cls, table: Table) -> Self:
        """Take the state out of an agent's answer."""
        numbers = (name for name in cls.__dataclass_fields__ if name != "governor")
        return cls(text(table, "governor"), **{name: whole(table, name) for name in numbers})

    def __str__(self) -> str:
        """Return it in a few words."""
        if self.min_hz is None or self.max_hz is None:
            return self.governor or "unknown"
        clock = f"{self.max_hz / _GIGA:g} GHz"
        if self.min_hz != self.max_hz:
            clock = f"{self.min_hz / _GIGA:g} to {clock}"
        return f"{self.governor}, {clock}" if self.governor else clock


@dataclass(frozen=True)
class ClockRefusal:
    """A file that did not take what it should.

    Attributes:
        file: its name, such as ``scaling_governor``.
        why: the kernel's name of the error (``EACCES``), or a word of the agent's own:
            ``absent``, ``throttled``, ``not_offered``, ``not_kept``.
        more: what is offered, or was kept instead.
    """

    file: str
    why: str
    more: str = ""

    @classmethod
    def from_json(cls, table: Table) -> Self:
        """Take one refusal out of an agent's answer."""
        return cls(*(needed(text(table, name), name) for name in ("file", "why", "more")))

    def __str__(self) -> str:
        """Return it in words."""
        said = _REASONS.get(self.why, f"refused with {self.why}")
        return f"{self.file}: {said}{f' ({self.more})' if self.more else ''}"


_REASONS: Final = {
    "EACCES": "this user may not write it",
    "EPERM": "this user may not write it",
    "EROFS": "sysfs is mounted read-only",
    "EBUSY": "the driver is busy",
    "EINVAL": "the kernel does not take this value",
    "absent": "the kernel has no such file",
    "throttled": "the kernel limits the clock against heat just now, and hides the true limits",
    "not_offered": "the hardware does not offer this clock",
    "not_kept": "the kernel took it and holds another value",
}

_HINTS: Final = {
    "EACCES": "let a group write these files, as docs/clocks.md shows, or log in as root",
    "EPERM": "let a group write these files, as docs/clocks.md shows, or log in as root",
    "EROFS": "run the agent outside the container, or mount sysfs read-write",
    "throttled": "let the device cool down first",
    "not_offered": "ask for a clock that is offered",
    "EBUSY": "stop what else sets clocks on the device, such as tuned or nvpmodel",
}


@dataclass(frozen=True)
class PinnedClock:
    """One clock: of a cluster of cores, or of a device such as a GPU.

    Attributes:
        name: ``policy0``, or the device's name.
        cpus: the cores that have this clock.
        asked_hz: the clock that was asked for; ``None``: the highest of its limits.
        set: what was written and holds, by file; empty where it was pinned already.
        was: before.
        read_back: after.
        pinned: whether what was read back is one clock, the one that was asked for.
        refused: what did not take what it should; nothing of this clock was left changed then.
    """

    name: str
    kind: DomainKind
    pinned: bool
    was: ClockState
    read_back: ClockState
    cpus: tuple[int, ...] = ()
    asked_hz: int | None = None
    set: tuple[tuple[str, str], ...] = ()
    refused: tuple[ClockRefusal, ...] = ()

    @classmethod
    def from_json(cls, table: Table) -> Self:
        """Take one clock out of an agent's answer."""
        return cls(
            name=needed(text(table, "name"), "name"),
            kind="cpu" if table.get("kind") == "cpu" else "device",
            pinned=table.get("pinned") is True,
            was=ClockState.from_json(as_table(table.get("was"), "was")),
            read_back=ClockState.from_json(as_table(table.get("now"), "now")),
            cpus=many(table, "cpus", _cpu),
            asked_hz=whole(table, "asked_hz"),
            set=many(table, "set", _pair),
            refused=tables(table, "refused", ClockRefusal.from_json),
        )


@dataclass(frozen=True)
class PinnedClocks:
    """What a device took when its clocks were to be pinned.

    Attributes:
        clocks: every clock there is; empty where the kernel lets none be set.
        recovered: what a former session had left pinned, and was put back first.
        guardian_pid: the process on the device that puts them back.
    """

    clocks: tuple[PinnedClock, ...] = ()
    guardian_pid: int | None = None
    recovered: "ReleasedClocks | None" = None

    @classmethod
    def from_json(cls, table: Table) -> Self:
        """Take the answer to ``pin_clocks``."""
        former = table.get("recovered")
        return cls(
            clocks=tables(table, "domains", PinnedClock.from_json),
            guardian_pid=whole(table, "guardian", least=1),
            recovered=None if former is None else ReleasedClocks.from_json(former),
        )

    @property
    def cores_pinned(self) -> bool:
        """Whether every cluster of cores is pinned."""
        cores = [clock for clock in self.clocks if clock.kind == "cpu"]
        return bool(cores) and all(clock.pinned for clock in cores)

    @property
    def refused(self) -> tuple[PinnedClock, ...]:
        """The clocks that are not pinned."""
        return tuple(clock for clock in self.clocks if not clock.pinned)

    @property
    def why_not(self) -> tuple[str, ...]:
        """Why what is not pinned is not, one sentence each."""
        if not any(clock.kind == "cpu" for clock in self.clocks):
            return ("the kernel has no cpufreq policy: its clocks cannot be set from here",)
        return tuple(
            f"{clock.name} is not pinned ({clock.read_back}): " + "; ".join(map(str, clock.refused))
            for clock in self.refused
        )

    @property
    def hint(self) -> str | None:
        """What to do so that more is pinned."""
        whys = [refusal.why for clock in self.refused for refusal in clock.refused]
        return next((_HINTS[why] for why in whys if why in _HINTS), None)


@dataclass(frozen=True)
class ReleasedClocks:
    """What became of pinned clocks.

    Attributes:
        ended: ``released`` as it should be; else what put the clocks back before that:
            ``lease ran out``, ``agent gone``, ``guardian killed``, ``told by a signal``.
        restored: files that hold again what they held before.
        differing: file, what it was set to, and what it held at the end instead: heat, or
            somebody else.
        left: files that somebody else has set meanwhile; they were left as they are.
        failed: files that could not be put back, and why; the agent tries again at its next start.
    """

    ended: str = ""
    restored: tuple[str, ...] = ()
    differing: tuple[tuple[str, str, str], ...] = ()
    left: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Take the answer to ``release_clocks``."""
        table = as_table(value, "released clocks")
        return cls(
            ended=text(table, "ended") or "",
            restored=many(table, "restored", word),
            differing=many(table, "differing", _triple),
            left=many(table, "left", word),
            failed=many(table, "failed", _pair),
        )

    @property
    def held(self) -> bool:
        """Whether the clocks were pinned up to the end, and at what they were set to."""
        return self.ended == "released" and not self.differing


def _cpu(value: object) -> int:
    return needed(whole({"cpus": value}, "cpus"), "cpus")


def _words(value: object, count: int) -> Sequence[str]:
    if not isinstance(value, list) or len(value) != count:
        raise wrong("an entry", value, f"{count} texts")
    return [word(part) for part in value]


def _pair(value: object) -> tuple[str, str]:
    first, second = _words(value, 2)
    return first, second


def _triple(value: object) -> tuple[str, str, str]:
    first, second, third = _words(value, 3)
    return first, second, third
