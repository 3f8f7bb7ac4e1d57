"""Weights in another order, by NumPy. Runs inside the toolbox.

TVM folds a constant by compiling the operator for its shape and running it. For each convolution
that was laid out anew these are three: half of the time that building a model took.
"""

from typing import Any

# TVM has no types where this is checked.
Expression = Any


def reordered() -> Any:  # noqa: ANN401 - TVM's pass
    """Return the pass that folds transposed and reshaped constants; nothing is computed in them.

    What is left is for TVM's own pass.
    """
    import numpy as np
    import tvm
    from tvm import relax
    from tvm.relax.expr_functor import PyExprMutator, mutator

    constant = type(relax.const(0.0))
    transpose, reshape = (tvm.ir.Op.get(f"relax.{name}") for name in ("permute_dims", "reshape"))

    @mutator
    class Reorder(PyExprMutator):  # type: ignore[misc] # TVM's
        def visit_call_(self, call: Expression) -> Expression:
            if call.op not in {transpose, reshape}:
                return super().visit_call_(call)
            source = call.args[0]
            if isinstance(source, relax.Var):
                source = self.lookup_binding(source)
            if not isinstance(source, constant):
                return super().visit_call_(call)
            value = source.value.numpy()
            if call.op == transpose:
                axes = call.attrs.axes
                value = value.transpose(None if axes is None else [int(axis) for axis in axes])
            elif isinstance(call.args[1], relax.ShapeExpr):
                value = value.reshape([int(size) for size in call.args[1].values])
            else:
                return super().visit_call_(call)
            return relax.const(np.ascontiguousarray(value), str(value.dtype))

    def fold(module: Expression, _context: Expression) -> Expression:
        found = Reorder(module)
        for name, function in module.functions.items():
            if isinstance(function, relax.Function):
                found.builder_.update_func(name, found.visit_expr(function))
        return found.builder_.get()

    return tvm.transform.module_pass(fold, opt_level=0, name="ReorderConstants")
