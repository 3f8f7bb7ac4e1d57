"""A convolution of 8-bit integers for processors with dot products: its code and its schedules.

Runs inside the toolbox.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# TVM has no types where this is checked.
Target = Any
Tensor = Any
IRModule = Any
Schedule = Any
Block = Any
SpaceGenerator = Any

CONVOLUTION = "dot_conv2d"
_SUMS = "dot_sums"  # the block of it that is made of dot products
_DEPTH = 4  # products that one lane adds up
_VNNI = "edgekit_dot_16x4_vnni"
_VPDPBUSD = """
@T.prim_func(s_tir=True)
def vpdpbusd(
    A: T.Buffer((4,), "uint8", offset_factor=1),
    B: T.Buffer((16, 4), "int8", offset_factor=1),
    C: T.Buffer((16,), "int32", offset_factor=1),
) -> None:
    with T.sblock("root"):
        T.reads(C[0:16], A[0:4], B[0:16, 0:4])
        T.writes(C[0:16])
        C[T.ramp(T.int32(0), 1, 16)] = T.call_llvm_pure_intrin(
            T.llvm_lookup_intrinsic_id("llvm.x86.avx512.vpdpbusd.512"),
            C.vload([0], dtype="int32x16"),
            T.reinterpret(
                T.broadcast(T.reinterpret(A.vload([0], "uint8x4"), dtype="int32"), 16),
                dtype="int8x64",
            ),
            B.vload([0, 0], dtype="int8x64"),
            dtype="int32x16",
        )
"""
# Sums that a processor can hold in its registers beside what they are made of: 32 registers.
_MOST_PIXELS = 12
_MOST_VECTORS = 4
_MOST_DEPTH = 8


@dataclass(frozen=True)
class Dot:
    """A processor's instruction that adds products of 8-bit numbers to 32-bit sums.

    Attributes:
        intrinsic: TVM's name of it; empty where there is none: its arithmetic is spelled out.
        lanes: sums in a register.
        dtype: of the activations.
        shift: what is taken from 0 to 255 so that it fits ``dtype``.
    """

    intrinsic: str
    lanes: int
    dtype: str
    shift: int


def dot_of(target: Target) -> Dot:
    """Return the best instruction that a processor has, or what does without one."""
    from tvm.s_tir.tensor_intrin import arm_cpu
    from tvm.target.codegen import target_has_features

    if str(target.attrs.get("mtriple", "")).startswith("aarch64"):
        has_dot = target_has_features("dotprod", target)
        name = arm_cpu.ARM_DOT_4x4_i8_SDOT_INTRIN if has_dot else arm_cpu.ARM_DOT_4x4_i8_NEON_INTRIN
        return Dot(name, 4, "int8", 128)
    if target_has_features("avx512vnni", target):
        _register_vnni()
        return Dot(_VNNI, 16, "uint8", 0)
    return Dot("", 16, "uint8", 0)


def _register_vnni() -> None:
    """Register the instruction in the form that LLVM 22 has it; TVM's own is of older ones."""
    from tvm.s_tir import TensorIntrin
    from tvm.s_tir.tensor_intrin.x86 import dot_product_16x4_u8i8i32_desc
    from tvm.script import from_source

    made = from_source(_VPDPBUSD)
    TensorIntrin.register(_VNNI, dot_product_16x4_u8i8i32_desc, made, override=True)


@dataclass(frozen=True)
class Geometry:
    """A convolution's numbers, without a batch: top, left, bottom, right; height before width."""

    channels: int
    padding: tuple[int, int, int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]

    @classmethod
    def of(cls, attrs: Any, oihw: Sequence[int]) -> Self:  # noqa: ANN401 - TVM's Conv2DAttrs
        """Take them from a call of ``relax.nn.conv2d`` and the shape of its weights."""
        top, left, bottom, right = (int(side) for side in attrs.padding)
        down, across = (int(step) for step in attrs.strides)
        apart = (int(attrs.dilation[0]), int(attrs.dilation[1]))
        return cls(int(oihw[0]), (top, left, bottom, right), (down, across), apart)


def packed(weights: "NDArray[Any]", dot: Dot) -> "NDArray[Any]":
    """Lay weights (OIHW) out as a register takes them: O / lanes, H, W, I / 4, lanes, 4."""
    outs, ins, height, width = weights.shape
    lanes, groups = -(-outs // dot.lanes), -(-ins // _DEPTH)
    whole = np.zeros((lanes * dot.lanes, groups * _DEPTH, height, width), weights.dtype)
    whole[:outs, :ins] = weights
    split = whole.reshape(lanes, dot.lanes, groups, _DEPTH, height, width)
    return np.ascontiguousarray(split.transpose(0, 4, 5, 2, 1, 3))


def convolution(
    data: Tensor, weights: Tensor, zero: Tensor, *, geometry: Geometry, dot: Dot
) -> Tensor:
    """Return the sums, int32 NHWC.

    Args:
        data: activations, NHWC, of ``dot.dtype``.
        weights: as :func:`packed` lays them out.
        zero: one number: what stands for 0 and pads.
        geometry: the convolution's.
        dot: the instruction.
    """
    from tvm import te, tirx

    batch, rows, columns, channels = (int(side) for side in data.shape)
    blocks, height, width, groups = (int(side) for side in weights.shape[:4])
    top, left, bottom, right = geometry.padding
    (down, across), (apart, aside) = geometry.strides, geometry.dilation
    whole = (batch, rows + top + bottom, columns + left + right, groups * _DEPTH)
    padded = data
    if whole != (batch, rows, columns, channels):

        def inside(n: Any, y: Any, x: Any, c: Any) -> Any:  # noqa: ANN401
            within = tirx.all(y >= top, y < top + rows, x >= left, x < left + columns, c < channels)
            return tirx.if_then_else(within, data[n, y - top, x - left, c], zero[0])

        padded = te.compute(whole, inside, name="padded")
    ry, rx = te.reduce_axis((0, height), "ry"), te.reduce_axis((0, width), "rx")
    rc = te.reduce_axis((0, groups * _DEPTH), "rc")

    def product(n: Any, y: Any, x: Any, o: Any) -> Any:  # noqa: ANN401
        value = padded[n, y * down + ry * apart, x * across + rx * aside, rc]
        weight = weights[o // dot.lanes, ry, rx, rc // _DEPTH, o % dot.lanes, rc % _DEPTH]
        return te.sum(value.astype("int32") * weight.astype("int32"), axis=[ry, rx, rc])

    high = (whole[1] - apart * (height - 1) - 1) // down + 1
    wide = (whole[2] - aside * (width - 1) - 1) // across + 1
    sums = te.compute((batch, high, wide, blocks * dot.lanes), product, name=_SUMS)
    if blocks * dot.lanes == geometry.channels:
        return sums
    shape = (batch, high, wide, geometry.channels)
    return te.compute(shape, lambda n, y, x, o: sums[n, y, x, o], name="channels")


def is_dot(function: IRModule) -> bool:
    """Tell whether a function is such a convolution."""
    return f'"{_SUMS}"' in function.script()


def dot_space(target: Target) -> SpaceGenerator:
    """Return where to look for schedules of such a convolution."""
    from tvm.s_tir.meta_schedule import mutator, space_generator

    return space_generator.ScheduleFn(
        _scheduling(dot_of(target)),
        sch_rules=[],
        postprocs=[],
        mutator_probs={mutator.MutateTileSize(): 1.0},
    )


def _scheduling(dot: Dot) -> Callable[[Schedule], None]:
    def schedule(found: Schedule) -> None:
        """Sums stay in registers over all of a reduction; what follows is done while they are."""
        sums = found.get_sblock(_SUMS)
        _prepare_padding(found, sums)
        last = _fold_consumers(found, sums)
        n, y, x, o, ry, rx, rc = found.get_loops(sums)
        across, lanes = found.split(o, [None, dot.lanes])
        groups, depth = found.split(rc, [None, _DEPTH])
        y0, y1 = found.split(y, found.sample_perfect_tile(y, 2, 64))
        x0, x1, x2 = found.split(x, found.sample_perfect_tile(x, 3, _MOST_PIXELS))
        o0, o1, o2 = found.split(across, found.sample_perfect_tile(across, 3, _MOST_VECTORS))
        c0, c1 = found.split(groups, found.sample_perfect_tile(groups, 2, _MOST_DEPTH))
        found.reorder(n, y0, x0, o0, y1, x1, o1, ry, rx, c0, c1, x2, o2, lanes, depth)
        outer = found.fuse(n, y0, x0, o0)
        found.parallel(outer)
        found.reverse_compute_at(last, o1, preserve_unit_loops=True)
        found.vectorize(found.get_loops(last)[-1])
        for loop in (c1, x2, o2):
            found.unroll(loop)
        if not dot.intrinsic:
            found.reorder(depth, lanes)
            found.unroll(depth)
            found.vectorize(lanes)
            return
        start = found.decompose_reduction(sums, ry)
        found.vectorize(found.get_loops(start)[-1])
        found.tensorize(lanes, dot.intrinsic)

    return schedule


def _prepare_padding(found: Schedule, sums: Block) -> None:
    for block in found.get_producers(sums):
        *outer, channels = found.get_loops(block)
        found.parallel(found.fuse(*outer))
        found.vectorize(channels)


def _fold_consumers(found: Schedule, sums: Block) -> Block:
    """Make one block of all that is done with the sums; return it."""
    waiting, last = list(found.get_consumers(sums)), sums
    while waiting:
        last = waiting.pop(0)
        followers = found.get_consumers(last)
        if not followers:
            continue
        found.compute_inline(last)
        known = {found.get(block).name_hint for block in waiting}
        waiting += [each for each in followers if found.get(each).name_hint not in known]
    return last
