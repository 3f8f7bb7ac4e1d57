"""Run one engine's ``build.py``: this file runs inside the toolbox, alone.

    python run_build.py JOB.json

Python 3.10 and newer. Standard library only, and NumPy and ONNX Runtime where a build verifies
itself; edgekit is not importable here. The job names everything; ``result.json`` beside it says
what came out::

    {"files": [{"path", "sha256", "size_bytes"}], "versions": {"ncnn": "..."}, "notes": ["..."]}
    {"error": "what went wrong, in one line"}
"""

import hashlib
import importlib.metadata
import importlib.util
import itertools
import json
import math
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

_LAST_LINES = 8
_GRADED = 4
_SEED = 20261121
# Outputs below this are compared as if they were this large: next to nothing has no shape.
_FAINT = 1e-2


@dataclass(frozen=True)
class Tensor:
    """Name, dtype and shape, as ``edgekit.core.model.TensorSpec``."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Quantisation:
    """How int8 is made, as ``edgekit.core.quantisation.Quantisation``."""

    method: str
    float_layers: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """One build, as ``edgekit.core.contracts.BuildJob`` describes it."""

    model: Path
    precision: str
    settings: Mapping[str, Any]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    output: Path
    scratch: Path
    quantisation: Quantisation | None = None
    sample_files: Mapping[str, Path] = field(default_factory=dict)
    sources: Path | None = None
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Have the user told something that every build like this one means."""
        print(text, flush=True)  # noqa: T201 - standard output is the build's log
        self.notes.append(text)

    def compile(
        self, architecture: str, output: Path, arguments: Sequence[str], *, glibc: str
    ) -> None:
        """Compile or link C for a board."""
        module = _load(Path(__file__).with_name("toolchains.py"))
        found = module.toolchains(architecture, glibc)
        if not found:
            how = module.how_to_install(architecture)
            raise RuntimeError(f"no C compiler for {architecture} is here: {how}")
        module.compile_with(found, output, arguments, glibc=glibc, run=self.run)

    def samples(self) -> Iterator[dict[str, Any]]:
        """Give the calibration samples one after the other, by the inputs' names."""
        import numpy as np

        stacks = {
            name: np.load(path, mmap_mode="r", allow_pickle=False)
            for name, path in self.sample_files.items()
        }
        count = min((len(stack) for stack in stacks.values()), default=0)
        for number in range(count):
            # A copy that outlives the step: some engines keep no reference to their input.
            yield {name: np.array(stack[number : number + 1]) for name, stack in stacks.items()}

    def ranges(self) -> Any:  # noqa: ANN401 - ranges.Ranges, which cannot be imported here
        """Make an observer of activation ranges for the method that was asked for."""
        if self.quantisation is None:
            raise RuntimeError("ranges are observed for int8 only")
        return _load(Path(__file__).with_name("ranges.py")).Ranges(self.quantisation.method)

    def observed(self, model: Any, names: Sequence[str]) -> Any:  # noqa: ANN401 - onnx and ranges
        """Run the calibration samples through a model and observe tensors of it."""
        import onnx
        import onnxruntime

        shown = onnx.ModelProto()
        shown.CopyFrom(model)
        own = {value.name for value in (*shown.graph.input, *shown.graph.output)}
        shown.graph.output.extend(
            onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in own
        )
        session = onnxruntime.InferenceSession(
            shown.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        given = {value.name for value in session.get_inputs()}
        made = [name for name in names if name not in given]
        ranges = self.ranges()
        for sample in self.samples():
            # An empty list of names would mean all outputs.
            values = dict(zip(made, session.run(made, sample), strict=True)) if made else {}
            ranges.see(values | {name: sample[name] for name in names if name in given})
        if names and not ranges.names():
            raise RuntimeError("there are no calibration samples to observe ranges on")
        return ranges

    def grade(self, infer: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        """Run ``infer`` on a few calibration samples and log how far it is from float."""
        import numpy as np

        signal = dict.fromkeys((spec.name for spec in self.outputs), 0.0)
        noise = dict(signal)
        for inputs in itertools.islice(self.samples(), _GRADED):
            expected, got = self._reference(inputs), infer(inputs)
            for spec in self.outputs:
                wanted = expected[spec.name].astype(np.float64)
                found = self._checked(spec.name, got, wanted)
                signal[spec.name] += float((wanted**2).sum())
                noise[spec.name] += float(((found - wanted) ** 2).sum())
        for name, power in signal.items():
            decibels = 10 * math.log10(max(power, _FAINT) / max(noise[name], 1e-30))
            print(f"output {name}: {decibels:.1f} dB above its quantisation noise")  # noqa: T201

    def _checked(self, name: str, got: Mapping[str, Any], wanted: Any) -> Any:  # noqa: ANN401
        """Return output ``name`` of what was built: there, of the right shape, and finite."""
        import numpy as np

        if name not in got:
            raise RuntimeError(f"output {name} is missing from what was built")
        if got[name].shape != wanted.shape:
            raise RuntimeError(f"output {name} has shape {got[name].shape}, not {wanted.shape}")
        if not np.isfinite(got[name]).all():
            raise RuntimeError(f"output {name} holds NaN or infinite values")
        return got[name].astype(np.float64)

    def run(self, command: Sequence[str]) -> str:
        """Run a command in the scratch folder; return what it printed."""
        print("+", *command, flush=True)  # noqa: T201 - standard output is the build's log
        done = subprocess.run(
            command,
            cwd=self.scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        text = done.stdout.decode(errors="replace")
        print(text, flush=True)  # noqa: T201 - as above
        if done.returncode != 0:
            last = " | ".join(text.strip().splitlines()[-_LAST_LINES:])
            how = f"signal {-done.returncode}" if done.returncode < 0 else f"{done.returncode}"
            raise RuntimeError(f"{Path(command[0]).name} ended with {how}: {last}")
        return text

    def verify(
        self, infer: Callable[[Mapping[str, Any]], Mapping[str, Any]], *, tolerance: float
    ) -> None:
        """Compare ``infer`` with ONNX Runtime on one seeded input."""
        import numpy as np

        inputs, expected = self._telling_input()
        got = infer(inputs)
        for spec in self.outputs:
            wanted = expected[spec.name]
            found = self._checked(spec.name, got, wanted)
            scale = max(float(np.abs(wanted).max(initial=0.0)), _FAINT)
            far = float(np.abs(found - wanted).max(initial=0.0)) / scale
            print(f"output {spec.name}: off by {far:.3g} of its largest value")  # noqa: T201
            if far > tolerance:
                raise RuntimeError(
                    f"output {spec.name} is off by {far:.3g} of its largest value, "
                    f"more than {tolerance:.3g}: what was built computes something else"
                )

    def _telling_input(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a seeded input that the model answers with more than almost nothing.

        A detector of text answers noise with zeros, which would prove little.
        """
        import numpy as np

        random = np.random.default_rng(_SEED)
        # Pictures lie in 0..1, or around 0 once they are normalised.
        draws = (random.random, random.standard_normal, lambda shape: random.normal(0, 3, shape))
        for draw in draws:
            # Whole numbers are indices, of which 0 always exists.
            inputs = {
                spec.name: np.asarray(draw(spec.shape), np.float32)
                if spec.dtype == "float32"
                else np.zeros(spec.shape, spec.dtype)
                for spec in self.inputs
            }
            expected = self._reference(inputs)
            if all(np.abs(value).max(initial=0.0) > _FAINT for value in expected.values()):
                break
        return inputs, expected

    def _reference(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(self.model), providers=["CPUExecutionProvider"])
        names = [spec.name for spec in self.outputs]
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def main() -> int:
    """Build what the job on the command line says; write ``result.json``."""
    path = Path(sys.argv[1])
    raw = json.loads(path.read_text(encoding="utf-8"))
    job = Job(
        model=Path(raw["model"]),
        precision=raw["precision"],
        settings=raw["settings"],
        inputs=_tensors(raw["inputs"]),
        outputs=_tensors(raw["outputs"]),
        output=Path(raw["output"]),
        scratch=Path(raw["scratch"]),
        quantisation=_quantisation(raw["quantisation"]),
        sample_files={name: Path(path) for name, path in raw["samples"].items()},
        sources=Path(raw["sources"]) if raw["sources"] else None,
    )
    result: dict[str, Any]
    try:
        _load(Path(raw["script"])).build(job)
        files = _files(job.output)
        if not files:
            raise RuntimeError("the build ended without an error and left no file")  # noqa: TRY301 - one handler for all
        result = {"files": files, "versions": _versions(), "notes": job.notes}
    except Exception as error:  # noqa: BLE001 - the process border: a fault becomes a result
        traceback.print_exc()
        result = {"error": str(error).strip() or type(error).__name__}
    path.with_name("result.json").write_text(json.dumps(result), encoding="utf-8")
    return 1 if "error" in result else 0


def _tensors(raw: Sequence[Mapping[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(Tensor(spec["name"], spec["dtype"], tuple(spec["shape"])) for spec in raw)


def _quantisation(raw: Mapping[str, Any] | None) -> Quantisation | None:
    return Quantisation(raw["method"], tuple(raw["float_layers"])) if raw else None


def _load(script: Path) -> ModuleType:
    """Import a file as a package of its own: ``from .build_int8 import`` finds its neighbours."""
    name = f"edgekit_{script.stem}"
    spec = importlib.util.spec_from_file_location(
        name, script, submodule_search_locations=[str(script.parent)]
    )
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{script} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _files(folder: Path) -> list[dict[str, str | int]]:
    files: list[dict[str, str | int]] = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            files.append({"path": name, "sha256": _digest(path), "size_bytes": path.stat().st_size})
    return files


def _digest(path: Path) -> str:
    # file_digest came with Python 3.11; some toolboxes are older.
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    found = importlib.metadata.distributions()
    return {item.metadata["Name"]: item.version for item in found}


if __name__ == "__main__":
    sys.exit(main())
