"""Write ``edgekit/engines/paddlelite/operators.txt``.

    python scripts/list_paddlelite_operators.py

Proven as ``list_operators.py`` proves the others', by the same graphs through the engine's own
``build.py``. Paddle takes seconds to import: the toolbox imports it once, and each graph is
built in a fork of that process, in which a crash is a refusal too.
"""

import json
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import onnx
from list_operators import ENGINES, candidates, plain_floats

from edgekit.core.events import ignore
from edgekit.engines import load_engine
from edgekit.toolbox import run_build
from edgekit.toolbox.environments import environment

ENGINE = load_engine("paddlelite")
# A constant is no layer: it takes no input, and what converts it are the layers that do.
FOLDED = frozenset({"Constant"})
HEADER = (
    "# ONNX operators (default domain). Made by scripts/list_paddlelite_operators.py: each proven "
    "by a graph whose x86 file equals ONNX Runtime and whose ARM file was made, or folded.\n"
)
SECONDS_PER_GRAPH = 60
PROCESSES = 2
# Argument: a file with the jobs of one operator on each line, of which one that ends well is
# enough. A graph's result lies beside its job.
BUILD_ALL = f"""
import importlib.util, os, signal, sys
import onnx, onnxruntime, paddle, paddlelite.lite, x2paddle.convert
spec = importlib.util.spec_from_file_location("run_build", {str(run_build.__file__)!r})
run_build = importlib.util.module_from_spec(spec)
sys.modules["run_build"] = run_build
spec.loader.exec_module(run_build)
for line in open(sys.argv[1]):
    for job in line.split():
        if not (child := os.fork()):
            signal.alarm({SECONDS_PER_GRAPH})
            sys.argv = ["run_build.py", job]
            os._exit(run_build.main())
        if os.waitpid(child, 0)[1] == 0:
            break
"""


def write_job(model: onnx.ModelProto, folder: Path) -> Path:
    """Write the graph and the job that builds it as ``edgekit.toolbox.build`` would."""
    for name in ("output", "scratch"):
        (folder / name).mkdir(parents=True)
    for number, node in enumerate(model.graph.node):
        node.name = f"node{number}"  # as in the normal form, each has a name
    onnx.save(model, folder / "model.onnx")

    def tensors(values: list[onnx.ValueInfoProto]) -> list[dict[str, object]]:
        shapes = [[side.dim_value for side in v.type.tensor_type.shape.dim] for v in values]
        return [
            {"name": value.name, "dtype": "float32", "shape": shape}
            for value, shape in zip(values, shapes, strict=True)
        ]

    job = {
        "script": str(ENGINE.build_script),
        "model": str(folder / "model.onnx"),
        "precision": "fp32",
        "settings": {"processor": "arm"},
        "quantisation": None,
        "samples": {},
        "inputs": tensors(list(model.graph.input)),
        "outputs": tensors(list(model.graph.output)),
        "output": str(folder / "output"),
        "scratch": str(folder / "scratch"),
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return path


def main() -> None:
    """Build every graph; list the operators of which one came out right."""
    python = environment(ENGINE.toolbox, emit=ignore).python
    with tempfile.TemporaryDirectory(prefix="edgekit-operators-") as temporary:
        folder = Path(temporary)
        jobs = {
            name: [
                write_job(model, folder / f"{name}-{number}")
                for number, model in enumerate(models)
                if plain_floats(model)
            ]
            for name, models in candidates().items()
        }
        shares = [list(jobs.values())[first::PROCESSES] for first in range(PROCESSES)]
        with ThreadPoolExecutor(PROCESSES) as pool:
            list(pool.map(partial(build_all, python, folder), range(PROCESSES), shares))
        proven = {name for name, found in jobs.items() if any(map(built, found))}
    text = HEADER
    text += "".join(f"{name}\n" for name in sorted(FOLDED | proven))
    (ENGINES / "paddlelite" / "operators.txt").write_text(text, encoding="utf-8")
    print(f"paddlelite: {len(FOLDED | proven)} operators")


def build_all(python: Path, folder: Path, number: int, jobs: list[list[Path]]) -> None:
    """Build the graphs of some operators, in one process of the toolbox."""
    listed = folder / f"jobs-{number}.txt"
    lines = [" ".join(map(str, found)) for found in jobs]
    listed.write_text("\n".join(lines), encoding="utf-8")
    command = [str(python), "-I", "-c", BUILD_ALL, str(listed)]
    with (folder / f"log-{number}.txt").open("wb") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log)


def built(job: Path) -> bool:
    """Tell whether a job ended well."""
    result = job.with_name("result.json")
    return result.is_file() and "files" in json.loads(result.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
