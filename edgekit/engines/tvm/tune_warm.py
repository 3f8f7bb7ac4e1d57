"""Schedules that were good on similar boards, as candidates for this one. Runs in the toolbox."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# TVM has no types where this is checked.
Target = Any
Workload = Any
MeasureCandidate = Any

_TENSORIZE = "meta_schedule.auto_tensorize"


def replayed(
    folder: Path, workload: Workload, trace: str, target: Target
) -> MeasureCandidate | None:
    """Return what a schedule makes of a task; ``None`` if it does not apply on a target.

    Args:
        folder: to be made; scratch.
        workload: the task's.
        trace: the schedule, as text.
        target: TVM's.
    """
    from .build_records import read_traces

    try:
        # LLVM ends the process when it meets an instruction that the processor has not.
        if not set(intrinsics(trace)) <= intrinsics_of(target):
            return None
        (record,) = read_traces(folder, workload, [(trace, [1.0])])
        return record.as_measure_candidate()
    except Exception:  # noqa: BLE001 - whatever TVM cannot read or apply is of no use here
        return None


def intrinsics_of(target: Target) -> frozenset[str]:
    """Return TVM's names of the tensor intrinsics that schedules for a target may use."""
    from tvm.s_tir.tensor_intrin import arm_cpu

    from .build_dot import dot_of

    best = dot_of(target)
    if best.intrinsic == arm_cpu.ARM_DOT_4x4_i8_SDOT_INTRIN:
        return frozenset({best.intrinsic, arm_cpu.ARM_DOT_4x4_i8_NEON_INTRIN})
    return frozenset({best.intrinsic} - {""})


def intrinsics(trace: str) -> Iterator[str]:
    """Yield the names of the tensor intrinsics that a schedule uses.

    Raises:
        ValueError, TypeError, LookupError: the text is no schedule of MetaSchedule's.
    """
    (instructions, _decisions), *_ = json.loads(trace)
    for kind, inputs, attributes, _outputs in instructions:
        if kind == "Tensorize":
            yield str(attributes[0])
        elif kind == "Annotate" and str(attributes[0]).startswith(_TENSORIZE):
            # An argument that is text stands in quotes of its own, a variable does not.
            yield str(inputs[1]).strip('"')
