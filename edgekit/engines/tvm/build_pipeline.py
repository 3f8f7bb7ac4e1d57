"""ONNX to machine code with TVM: import, tuning tasks, records applied, code.

Runs inside the toolbox, for the build and for tuning alike: records fit only the very same
fused functions. Whatever changes what :func:`import_model` gives must count ``VERSION`` up.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .build_int8 import Scale

# TVM has no types where this is checked.
IRModule = Any
Target = Any
Database = Any  # tvm.s_tir.meta_schedule.Database
Executable = Any
Expression = Any
SpaceGenerator = Any

VERSION = 2

_SIX = 6.0
_CPUINFO = Path("/proc/cpuinfo")
# What a virtual machine may hide of the CPU that it names: names of the kernel's flags line, and
# LLVM's for the same. Source: Linux arch/x86/include/asm/cpufeatures.h; LLVM, X86.td.
_X86_VECTORS = {
    "avx": "avx",
    "avx2": "avx2",
    "avx512_bf16": "avx512bf16",
    "avx512_bitalg": "avx512bitalg",
    "avx512_fp16": "avx512fp16",
    "avx512_vbmi2": "avx512vbmi2",
    "avx512_vnni": "avx512vnni",
    "avx512_vpopcntdq": "avx512vpopcntdq",
    "avx512bw": "avx512bw",
    "avx512cd": "avx512cd",
    "avx512dq": "avx512dq",
    "avx512f": "avx512f",
    "avx512ifma": "avx512ifma",
    "avx512vbmi": "avx512vbmi",
    "avx512vl": "avx512vl",
    "avx_vnni": "avxvnni",
    "f16c": "f16c",
    "fma": "fma",
}


@dataclass(frozen=True)
class Task:
    """One fused function of a model that can be tuned.

    Attributes:
        name: TVM's, such as ``fused_conv2d_add_sigmoid``; another model may mean another by it.
        key: structural hash of the function: equal functions have equal keys.
        count: how often the model calls it.
        flops: of one call; 0 for what only moves data.
    """

    name: str
    key: str
    count: int
    flops: float


@dataclass(frozen=True)
class Compiled:
    """Machine code, not yet linked.

    Attributes:
        executable: TVM's; :func:`objects` writes it out.
        tasks: all functions that can be tuned.
        untuned: those for which there was no record: they are plain loops.
    """

    executable: Executable
    tasks: tuple[Task, ...]
    untuned: tuple[Task, ...]

    @property
    def untuned_share(self) -> float:
        """Share of the model's arithmetic that is done without a record, 0 to 1."""
        return _work(self.untuned) / max(_work(self.tasks), 1.0)


def make_target(description: Mapping[str, Any]) -> Target:
    """Return TVM's target; an ``mcpu`` of ``native`` becomes the CPU that this runs on."""
    import tvm

    found = dict(description)
    if found.get("mcpu") == "native":
        found["mcpu"] = tvm.target.codegen.llvm_get_system_cpu()
        if hidden := _hidden(_CPUINFO.read_text(encoding="utf-8")):
            found["mattr"] = hidden
    return tvm.target.Target(found)


def _hidden(cpuinfo: str) -> list[str]:
    """Return what code for the CPU must not use, for the system does not show it."""
    lines = [line.partition(":")[2].split() for line in cpuinfo.splitlines() if "flags" in line]
    shown = set(lines[0]) if lines else set(_X86_VECTORS)
    return sorted(f"-{llvm}" for name, llvm in _X86_VECTORS.items() if name not in shown)


def import_model(
    onnx_file: Path,
    target: Target,
    precision: str = "fp32",
    scales: "Mapping[str, Scale] | None" = None,
) -> IRModule:
    """Return a model as fused functions, ready for tuning or to be compiled.

    Convolutions are laid out NHWC where all of the model can follow; weights are marked so that
    tuning may lay them out anew.

    Args:
        onnx_file: in normal form.
        target: what the code is for.
        precision: ``fp16`` computes in half precision what TVM holds to be safe in it, sums of
            convolutions among it; inputs and outputs stay as they are. ``int8`` computes
            convolutions in integers.
        scales: for int8, of what each convolution takes in, by its node's name; one that has
            none stays in float. ``None``: to be tuned, not run: no code depends on them.

    Raises:
        RuntimeError: the front end cannot import an operator, which is named with its node.
    """
    import onnx
    import tvm
    from tvm.relax.frontend.onnx import from_onnx

    model = onnx.load(str(onnx_file))
    with _plain_clip():
        module = from_onnx(model)
    with target:
        module = _laid_out(module)
        if precision == "int8":
            from .build_int8 import quantise, unit_scales

            module = quantise(
                module, model, target, unit_scales(model) if scales is None else scales
            )
        return tvm.transform.Sequential(_fusing(precision))(module)


def _laid_out(module: IRModule) -> IRModule:
    """Bring convolutions to NHWC, unless the model has an operator that cannot follow."""
    import tvm
    from tvm import relax

    from .build_fold import reordered

    passes = relax.transform
    first = (
        passes.Normalize(),
        passes.DecomposeOpsForInference(),
        passes.CanonicalizeBindings(),
    )
    layout = passes.ConvertLayout({"relax.nn.conv2d": ["NHWC", "HWIO"]})
    for passed in ((*first, layout, passes.Normalize()), first):
        try:
            return tvm.transform.Sequential([*passed, reordered(), passes.FoldConstant()])(module)
        except tvm.error.InternalError:
            # ConvertLayout knows not every operator: the layout stays ONNX's then.
            if passed is first:
                raise
    raise AssertionError


def _fusing(precision: str) -> list[Any]:
    from tvm import relax

    from .build_math import vectorised

    passes = relax.transform
    before: tuple[Any, ...] = ()
    if precision == "fp16":
        mixed = passes.ToMixedPrecision(out_dtype="float16")
        before = (mixed, passes.Normalize(), passes.FoldConstant())
    elif precision == "int8":
        # Results that only have another name would keep what follows from being fused.
        before = (passes.CanonicalizeBindings(), passes.Normalize(), passes.FoldConstant())
    last = passes.AttachAttrLayoutFreeBuffers()
    return [*before, vectorised(), relax.get_pipeline("zero"), last]


def space_of(function: IRModule, target: Target) -> SpaceGenerator:
    """Return where to look for a task's schedules, as MetaSchedule's ``TuneContext`` takes it."""
    from .build_dot import dot_space, is_dot

    return dot_space(target) if is_dot(function) else "post-order-apply"


def tasks_of(module: IRModule, target: Target) -> tuple[tuple[Task, IRModule], ...]:
    """Return the functions that can be tuned, each as MetaSchedule wants it, the costliest first.

    Equal functions are one task.
    """
    import tvm_ffi
    from tvm.s_tir.analysis import estimate_tir_flops
    from tvm.s_tir.meta_schedule.relax_integration import extract_tasks

    found = []
    for extracted in extract_tasks(module, target):
        (function,) = extracted.dispatched
        task = Task(
            str(extracted.task_name),
            f"{tvm_ffi.structural_hash(function) & 0xFFFFFFFFFFFFFFFF:016x}",
            int(extracted.weight),
            float(estimate_tir_flops(function)),
        )
        found.append((task, function))
    found.sort(key=lambda pair: (-pair[0].count * pair[0].flops, pair[0].key))
    return tuple(found)


def compile_model(module: IRModule, target: Target, database: Database | None = None) -> Compiled:
    """Compile what :func:`import_model` gave.

    Args:
        module: fused functions.
        target: what it was imported for.
        database: MetaSchedule's, with workloads and tuning records; the best record of each
            function is applied.
    """
    import tvm
    from tvm import relax

    found = tasks_of(module, target)
    untuned = [task for task, function in found if not _has_record(database, function, target)]
    if database is not None:
        passes = relax.transform
        with target, database, tvm.transform.PassContext(opt_level=3):
            module = tvm.transform.Sequential(
                [
                    passes.MetaScheduleApplyDatabase(),
                    passes.SplitLayoutRewritePreproc(),
                    passes.LiftTransformParams(),
                    passes.FoldConstant(),
                ]
            )(module)
    executable = tvm.compile(module, target=target)
    return Compiled(executable, tuple(task for task, _ in found), tuple(untuned))


def objects(executable: Executable, folder: Path) -> tuple[Path, ...]:
    """Write code and weights as object files into a folder; linked they are the library."""
    written: list[str] = []

    def keep(_output: str, files: Sequence[str], _options: object = None) -> None:
        written.extend(files)

    keep.object_format = "o"  # type: ignore[attr-defined] # what export_library asks for
    executable.export_library("unused.so", fcompile=keep, workspace_dir=str(folder))
    return tuple(map(Path, written))


def _work(tasks: Sequence[Task]) -> float:
    return sum(task.count * task.flops for task in tasks)


def _has_record(database: Database | None, function: IRModule, target: Target) -> bool:
    if database is None:
        return False
    return database.query_tuning_record(function, target, "main") is not None


@contextlib.contextmanager
def _plain_clip() -> Iterator[None]:
    """Import ``Clip`` between constants as operators that layout and precision pass through.

    The front end makes functions of its own of it, between which every convolution would be
    laid out anew.
    """
    from tvm.relax.frontend.onnx import onnx_frontend

    clip = onnx_frontend.Clip
    kept = {name: vars(clip)[name] for name in ("_impl_v11", "_impl_v13") if name in vars(clip)}
    for name, own in kept.items():
        setattr(clip, name, classmethod(_plainly(own.__func__)))
    try:
        yield
    finally:
        for name, own in kept.items():
            setattr(clip, name, own)


def _plainly(own: Callable[..., Expression]) -> Callable[..., Expression]:
    def convert(kind: Any, builder: Any, inputs: Any, *rest: Any) -> Expression:  # noqa: ANN401
        made = _limited(inputs)
        return own(kind, builder, inputs, *rest) if made is None else made

    return convert


def _limited(inputs: Any) -> Expression | None:  # noqa: ANN401 - Relax's expressions
    from tvm import relax

    values = [_scalar(bound) for bound in (inputs[1], inputs[2])]
    if None in values:
        return None
    low, high = values
    data, dtype = inputs[0], inputs[0].ty.dtype
    if (low, high) == (0.0, _SIX):
        return relax.op.minimum(relax.op.nn.relu(data), relax.const(_SIX, str(dtype)))
    floor = relax.op.maximum(data, relax.const(low, str(dtype)))
    return relax.op.minimum(floor, relax.const(high, str(dtype)))


def _scalar(bound: Any) -> float | None:  # noqa: ANN401 - a Relax expression, or None
    """Return a constant bound; ``None`` where there is none or it is no constant."""
    value = getattr(bound, "data", None) if bound is not None else None
    value = getattr(bound, "value", None) if value is None and bound is not None else value
    if value is None or not hasattr(value, "numpy"):
        return None
    array = value.numpy()
    return float(array) if array.size == 1 and array.dtype.kind == "f" else None
