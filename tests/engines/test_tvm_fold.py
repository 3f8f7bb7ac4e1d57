"""Constants that NumPy brings into another order are those that TVM's own folding gives."""

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.toolbox, pytest.mark.network]

PROGRAM = """
import numpy as np
import tvm
from tvm import relax

fold = importlib.import_module("tvm_build.build_fold")
passes = relax.transform
random = np.random.default_rng(0)
weights = random.standard_normal((4, 3, 2, 5)).astype(sys.argv[1])
constant = relax.const(weights, sys.argv[1])
builder = relax.BlockBuilder()
x = relax.Var("x", relax.TensorType((2, 5, 3, 4), sys.argv[1]))
with builder.function("main", [x]):
    with builder.dataflow():
        turned = builder.emit(relax.op.permute_dims(constant, [2, 3, 1, 0]))
        found = builder.emit(relax.op.add(x, turned))
        shaped = builder.emit(relax.op.reshape(constant, (3, 5, 2, 4)))
        again = builder.emit(relax.op.permute_dims(shaped, [2, 1, 0, 3]))
        found = builder.emit(relax.op.add(found, again))
        reversed_ = builder.emit(relax.op.permute_dims(relax.const(weights.T.copy(), sys.argv[1])))
        found = builder.emit(relax.op.add(found, relax.op.reshape(reversed_, (2, 5, 3, 4))))
        # What is no constant stays as it is.
        found = builder.emit(relax.op.permute_dims(found, [3, 2, 1, 0]))
        output = builder.emit_output(relax.op.reshape(found, (60, 2)))
    builder.emit_func_output(output)
module = passes.Normalize()(builder.get())
made = fold.reordered()(module)
inline = tvm.transform.Sequential([passes.FoldConstant(), passes.DeadCodeElimination()])
tvm.ir.assert_structural_equal(inline(made), inline(module), True)
print(json.dumps(str(made).count("permute_dims")))
"""


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64"])
def test_reordered_constants_are_those_of_tvms_folding(in_toolbox, dtype):
    assert in_toolbox(PROGRAM, dtype) == 1
