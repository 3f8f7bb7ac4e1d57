"""Functions that grow fast, as arithmetic on vectors. Runs inside the toolbox.

LLVM has no vector code for ``exp``: each lane of a vector became a call of the C library's
``expf``, which took 40 % of YOLOv5n's time. Polynomials take a few instructions a vector. Their
relative error in float32 is below 6e-6 (``tests/engines/test_tvm_math.py``).
"""

from collections.abc import Callable
from typing import Any

# TVM has no types where this is checked.
Builder = Any
Expression = Any
Tensor = Any


def vectorised() -> Any:  # noqa: ANN401 - TVM's pass
    """Return the pass that puts arithmetic in the place of operators that call a C library.

    It makes loops of all other operators too, as TVM's own pass of this name does.
    """
    from tvm import relax, topi

    own = {
        "relax.exp": _by(topi.fast_exp, "exp"),
        "relax.sigmoid": _by(_sigmoid, "tir_sigmoid"),
        "relax.nn.silu": _by(_silu, "silu"),
        "relax.tanh": _by(topi.fast_tanh, "tir_tanh"),
        "relax.erf": _by(topi.fast_erf, "erf"),
    }
    return relax.transform.LegalizeOps(own)


def _by(function: Callable[[Tensor], Tensor], name: str) -> Callable[[Builder, Expression], Any]:
    def legalise(builder: Builder, call: Expression) -> Expression:
        return builder.call_te(_in_single(function), call.args[0], primfunc_name_hint=name)

    return legalise


def _in_single(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Compute in float32, as TVM's polynomials do: of half precision they know nothing."""
    from tvm import topi

    def computed(value: Tensor) -> Tensor:
        if value.dtype == "float16":
            return topi.cast(function(topi.cast(value, "float32")), "float16")
        return function(value)

    return computed


def _sigmoid(value: Tensor) -> Tensor:
    from tvm import te, topi

    grown = topi.fast_exp(topi.negative(value))
    one = 1.0
    return te.compute(value.shape, lambda *at: one / (one + grown(*at)), "sigmoid", tag="elemwise")


def _silu(value: Tensor) -> Tensor:
    from tvm import topi

    return topi.multiply(value, _sigmoid(value))
