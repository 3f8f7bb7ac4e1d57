"""What TVM computes in the place of the C library's functions is as good, and calls none."""

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.toolbox, pytest.mark.network]

PROGRAM = """
import numpy as np
import tvm
from tvm import relax

math = importlib.import_module("tvm_build.build_math")
near = np.linspace(-6, 6, 4001)
small = np.logspace(-30, 0, 400)
ends = [0.0, 80.0, -80.0, np.inf, -np.inf]
values = np.concatenate([np.linspace(-80, 80, 4001), near, small, -small, ends])
operators = {
    "exp": (relax.op.exp, np.exp),
    "sigmoid": (relax.op.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "silu": (relax.op.nn.silu, lambda x: x / (1 + np.exp(-x))),
    "tanh": (relax.op.tanh, np.tanh),
    "erf": (relax.op.erf, None),
}
with np.errstate(all="ignore"):
    import math as c
    erf = np.vectorize(c.erf)
    found = {}
    for name, (operator, reference) in operators.items():
        for dtype in ("float32", "float16"):
            x = values.astype(dtype)
            builder = relax.BlockBuilder()
            variable = relax.Var("x", relax.TensorType(x.shape, dtype))
            with builder.function("main", [variable]):
                with builder.dataflow():
                    output = builder.emit_output(builder.emit(operator(variable)))
                builder.emit_func_output(output)
            executable = tvm.compile(math.vectorised()(builder.get()), target="llvm")
            machine = relax.VirtualMachine(executable, tvm.cpu())
            got = machine["main"](tvm.runtime.tensor(x)).numpy().astype(np.float64)
            wide = x.astype(np.float64)
            want = erf(wide) if reference is None else reference(wide)
            top = 6e4 if dtype == "float16" else 3e38
            kept = np.abs(want) < top
            scale = np.maximum(np.abs(want[kept]), 6e-5 if dtype == "float16" else 1e-30)
            code = executable.mod.imports[0].inspect_source("s")
            found[f"{name} {dtype}"] = {
                "error": float((np.abs(got[kept] - want[kept]) / scale).max()),
                "calls": [call for call in ("expf", "tanhf", "erff") if call in code],
                "ends": [str(each) for each in got[-2:]],
            }
print(json.dumps(found))
"""


def test_functions_are_as_good_as_the_c_librarys_and_call_none(in_toolbox):
    found = in_toolbox(PROGRAM)
    assert len(found) == 10
    for name, each in found.items():
        most = 1e-3 if name.endswith("16") else 6e-6
        assert each["error"] < most, name
        assert each["calls"] == [], name
    assert found["exp float32"]["ends"] == ["inf", "0.0"]
    assert found["sigmoid float32"]["ends"] == ["1.0", "0.0"]
    assert found["tanh float32"]["ends"] == ["1.0", "-1.0"]
