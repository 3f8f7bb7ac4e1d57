"""Write rknn's ``operators.txt``: what ``Engine.check`` refuses rests on it.

    python scripts/list_rknn_operators.py

An operator is listed if rknn-toolkit2, in edgekit's own toolbox, compiles at least one graph of
that single operator for the RK3566 and its simulator answers as ONNX Runtime does; the graphs
are those of ``list_operators.py``. Run it after ``lock_engines.py``, with the vendor's terms
accepted. The simulator checks the compiled graph, not the chip.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

FOLDER = Path(__file__).resolve().parents[1] / "edgekit" / "engines" / "rknn"
RUN_BUILD = FOLDER.parents[1] / "toolbox" / "run_build.py"
HEADER = (
    "# ONNX operators (default domain). Made by scripts/list_rknn_operators.py: each proven by "
    "a graph whose simulation equals ONNX Runtime, or folded.\n"
    "# hardware: an NPU of Rockchip's\n"
)
TIMEOUT_S = 3000


def main() -> None:
    """Write the graphs, run them in the toolbox, write the list."""
    from list_operators import FOLDED, candidates

    from edgekit.core.events import ignore
    from edgekit.engines import load_engine
    from edgekit.toolbox.environments import environment

    python = environment(load_engine("rknn").toolbox, emit=ignore).python
    with tempfile.TemporaryDirectory(prefix="edgekit-operators-") as scratch:
        for name, graphs in candidates().items():
            for number, model in enumerate(graphs):
                Path(scratch, f"{name}-{number}.onnx").write_bytes(model.SerializeToString())
        command = [str(python), "-I", "-B", str(Path(__file__).resolve()), scratch]
        subprocess.run(command, check=True, timeout=TIMEOUT_S)
        results = json.loads(Path(scratch, "results.json").read_text(encoding="utf-8"))
    names = sorted(FOLDED | {name for name, proven in results.items() if proven})
    text = HEADER + "".join(f"{name}\n" for name in names)
    (FOLDER / "operators.txt").write_text(text, encoding="utf-8")
    refused = sorted(set(results) - set(names))
    print(f"rknn: {len(names)} operators; without: {', '.join(refused)}")


def work(folder: Path) -> None:
    """Run inside the toolbox: tell which operators are proven, in ``results.json``."""
    build, run_build = _load(FOLDER / "build.py"), _load(RUN_BUILD)
    results: dict[str, bool] = {}
    for path in sorted(folder.glob("*.onnx")):
        name = path.stem.rpartition("-")[0]
        if results.get(name):
            continue
        # A process each: what crashes takes no other with it.
        child = os.fork()
        if child == 0:
            os._exit(0 if good(path, build, run_build) else 1)
        results[name] = os.waitpid(child, 0)[1] == 0
        print("proven" if results[name] else "NOT PROVEN", path.stem, flush=True)
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")


def good(path: Path, build: SimpleNamespace, run_build: SimpleNamespace) -> bool:
    """Tell whether edgekit's own build of the graph verifies."""
    import onnx

    graph = onnx.load(path).graph
    specs = [
        tuple(
            run_build.Tensor(
                value.name,
                str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)),
                tuple(size.dim_value for size in value.type.tensor_type.shape.dim),
            )
            for value in values
        )
        for values in (graph.input, graph.output)
    ]
    output, scratch = path.with_suffix(".out"), path.with_suffix(".scratch")
    output.mkdir()
    scratch.mkdir()
    settings = {"platform": "rk3566"}
    job = run_build.Job(path, "fp16", settings, *specs, output=output, scratch=scratch)
    try:
        build.build(job)
    except Exception as error:  # noqa: BLE001 - whatever it says, the operator is not proven
        print(path.stem, str(error).strip().splitlines()[-1:], flush=True)
        return False
    return True


def _load(script: Path) -> SimpleNamespace:
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    # Data classes look their module up.
    sys.modules[script.stem] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(Path(sys.argv[1]))
    else:
        main()
