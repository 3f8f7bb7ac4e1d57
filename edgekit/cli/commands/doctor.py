"""``edgekit doctor``: say what is missing here or there, and what mends it."""

from typing import TYPE_CHECKING

import click

from edgekit.cli.options import device_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit.app.doctor import Check
    from edgekit.core.events import EventSink
    from edgekit.report.table import Table

_SOMETHING_LACKS = 3


@click.command()
@device_options
def doctor(target: str | None, device: str | None, accept_new: bool, in_json: bool) -> int:
    """Say what this host lacks, and with --device what that device lacks.

    Every fault comes with the exact command that mends it. Nothing is changed.
    """
    from dataclasses import asdict

    from edgekit.app.doctor import doctor_host
    from edgekit.cli.output import make_output

    with make_output(in_json=in_json) as output:
        places = {"host": doctor_host()}
        if device is not None:
            places[device] = _look_at(device, target, accept_new, output.emit)
        faults = sum(not check.ok for checks in places.values() for check in checks)
        data = {
            "ok": not faults,
            "checks": [
                {"place": place, **asdict(check)}
                for place, checks in places.items()
                for check in checks
            ],
        }
        tables = [_table(place, checks) for place, checks in places.items()]
        verdict = f"{faults} to mend" if faults else "nothing to mend"
        output.result(data, *tables, *_fixes(places), verdict)
    return _SOMETHING_LACKS if faults else 0


def _look_at(
    device: str, target: str | None, accept_new: bool, emit: "EventSink"
) -> "tuple[Check, ...]":
    from edgekit.app.devices import locate, open_device
    from edgekit.app.doctor import Check, doctor_device
    from edgekit.catalog.targets import load_target
    from edgekit.core.errors import DeviceError

    located = locate(device, target)
    known = load_target(located.target) if located.target else None
    try:
        with open_device(located, known, emit=emit, accept_new=accept_new) as opened:
            return doctor_device(opened.facts, known)
    except DeviceError as error:
        return (Check("connection", False, error.message, error.hint),)


def _table(place: str, checks: "Sequence[Check]") -> "Table":
    from edgekit.report.table import Column, Table

    rows = tuple((check.name, "ok" if check.ok else "MEND", check.detail) for check in checks)
    return Table((Column(place), Column(""), Column("found")), rows)


def _fixes(places: "dict[str, tuple[Check, ...]]") -> list[str]:
    lines = [
        f"  {check.name}: {check.fix}"
        for checks in places.values()
        for check in checks
        if not check.ok and check.fix
    ]
    return ["", "to mend:", *lines] if lines else [""]


COMMAND = doctor
