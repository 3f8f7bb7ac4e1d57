"""ONNX to a library of machine code, linked for the board; checked where this machine runs it.

Runs inside the toolbox.
"""

import importlib.metadata
import json
import platform
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.core.contracts import BuildJob

    from .build_pipeline import Compiled

# Shares of an output's largest value. fp16 holds 11 bits; deep nets add up a few of them.
_TOLERANCE = {"fp32": 1e-3, "fp16": 5e-2}
_WORST = 3


def build(job: "BuildJob") -> None:
    """Write ``model.so``, ``model.json``, and what runs it: ``libsession.so`` and ``tvm-run``."""
    # They import what only the toolbox has.
    from .build_native import RUN, SESSION, make
    from .build_pipeline import (
        VERSION,
        compile_model,
        import_model,
        make_target,
        objects,
        tasks_of,
    )
    from .build_records import database_of
    from .tune_kernel import leave_out_gpus

    leave_out_gpus()
    target = make_target(job.settings["cpu"])
    scales = None
    if job.quantisation is not None:
        from .build_int8 import scales_of

        scales = scales_of(job)
    module = import_model(job.model, target, job.precision, scales)
    records = job.settings.get("records")
    database = None
    if records:
        tasks = tasks_of(module, target)
        database, unusable = database_of(tasks, records, job.scratch / "records")
        if unusable:
            job.note(
                f"tvm {job.precision}: {len(unusable)} tuning records do not apply and are left "
                f"out: {', '.join(unusable[:_WORST])}"
            )
    compiled = compile_model(module, target, database)
    compile_c = partial(job.compile, job.settings["architecture"], glibc=job.settings["glibc"])
    code = objects(compiled.executable, job.scratch)
    compile_c(job.output / "model.so", ["-shared", "-fPIC", *map(str, code)])
    if job.settings.get("objects"):
        for number, file in enumerate(code):
            shutil.copyfile(file, job.output / f"model-{number}.o")
    if job.sources is None:
        raise RuntimeError("edgekit's own sources for the board (cross/runners/tvm) are missing")
    for name in (SESSION, RUN):
        make(name, job.output, job.sources, compile_c)
    facts = {
        "tvm": importlib.metadata.version("apache-tvm"),
        "pipeline": VERSION,
        "target": str(target),
        "tasks": len(compiled.tasks),
        "untuned": len(compiled.untuned),
    }
    text = json.dumps(facts, sort_keys=True)
    (job.output / "model.json").write_text(text, encoding="utf-8")
    # What is made for another architecture is judged on the board.
    if job.settings["architecture"] == platform.machine():
        infer = _Net(job, job.output / "model.so").infer
        if job.precision == "int8":
            job.grade(infer)
        else:
            job.verify(infer, tolerance=_TOLERANCE[job.precision])
    _tell_untuned(job, compiled)


class _Net:
    """The library under TVM's own Python."""

    def __init__(self, job: "BuildJob", file: Path) -> None:
        import tvm
        from tvm import relax

        self._tvm = tvm
        self._inputs = [spec.name for spec in job.inputs]
        self._outputs = [spec.name for spec in job.outputs]
        self._main = relax.VirtualMachine(tvm.runtime.load_module(str(file)), tvm.cpu())["main"]

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Infer once."""
        found = self._main(*(self._tvm.runtime.tensor(inputs[name]) for name in self._inputs))
        values = [found] if hasattr(found, "numpy") else list(found)
        return {name: value.numpy() for name, value in zip(self._outputs, values, strict=True)}


def _tell_untuned(job: "BuildJob", compiled: "Compiled") -> None:
    count = len(compiled.untuned)
    if not count:
        return
    worst = ", ".join(task.name for task in compiled.untuned[:_WORST])
    job.note(
        f"tvm {job.precision}: {count} of {len(compiled.tasks)} tasks have no tuning record and "
        f"run as plain loops, {compiled.untuned_share:.0%} of the arithmetic; the costliest: "
        f"{worst}"
    )
