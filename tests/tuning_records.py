"""Records to test with, and where in a database's file they stand."""

import itertools

from edgekit.tune.record import Fingerprint, Record, Scope
from edgekit.tune.rows import Workload

A55 = Fingerprint(
    target="rk3566",
    architecture="aarch64",
    mcpu="cortex-a55",
    features=("+dotprod", "+fp16fml"),
    threads=4,
    clocks_mhz=(1800,),
    governor="performance",
)
SCOPE = Scope(A55, tvm="0.27.0.post1", pipeline="1")
_COUNTER = itertools.count()


def make_record(task="conv", cost=0.5, *, scope=SCOPE, trace_bytes=600, **changes):
    """A record like no other: its trace and its time are new."""
    number = next(_COUNTER)
    held = {
        "scope": scope,
        "structural_hash": f"hash-{task}",
        "task": task,
        "trace": f'["{number}", "{"x" * trace_bytes}"]',
        "measured_at_s": 1.79e9 + number / 8,
        "costs": () if changes.get("failure") else (cost, cost * 1.5, cost),
        "flops": 2e6,
        "device": "bench-1",
    }
    return Record(**held | changes)


def make_workload(task="conv", tvm=SCOPE.tvm, size=100):
    return Workload(tvm, f"hash-{task}", f'["hash-{task}", "{"w" * size}"]')
