"""TensorRT on a Jetson: build the engine where none is kept or sent, then run it on the GPU.

Python 3.6 (JetPack 4) and newer; JetPack's ``tensorrt`` module, ``trtexec`` and CUDA runtime.
Not verified on hardware.
"""

import hashlib
import os
import re
import sys
import time
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from edgekit.engines.tensorrt import runner_cuda, runner_trtexec
from edgekit.onboard import harness

# Hours on the smallest module for large models; whoever waits has a limit of their own.
BUILD_TIMEOUT_S = 7200
KEPT_ENGINES = 12
_CHUNK_BYTES = 1 << 20
_ELEMENTS = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64"}


class Session:
    """One loaded model.

    Attributes:
        made: the engine that runs, unless it came with the bundle.

    Knobs:
        threads: of no meaning for a GPU.
    """

    def __init__(
        self, folder: str, job: Mapping[str, Any], precision: str, knobs: Mapping[str, Any]
    ) -> None:
        del knobs
        try:
            import tensorrt
        except ImportError as error:
            raise RuntimeError(
                "JetPack's tensorrt module is missing (%s): sudo apt install python3-libnvinfer"
                % error
            ) from error
        self._version = str(tensorrt.__version__)
        self._runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.WARNING))
        self._built = None  # type: Optional[runner_trtexec.Transcript]
        self.made = {}  # type: Dict[str, str]
        self._engine = self._load(folder, precision)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise RuntimeError("TensorRT has no memory for the model on this GPU")
        self._cuda = runner_cuda.Cuda()
        self._bind(job)

    def _load(self, folder: str, precision: str) -> Any:
        """Take the bundle's engine if it was made for this very device, else the device's own."""
        onnx = os.path.join(folder, "model.onnx")
        name = engine_name(onnx, precision, self._version)
        sent = os.path.join(folder, name)
        if os.path.exists(sent):
            engine = self._read(sent)
            if engine is not None:
                return engine
            sys.stderr.write("warning: TensorRT refuses the engine that was sent: %s\n" % name)
        path, self._built = engine_file(onnx, name, precision, self._version)
        engine = self._read(path)
        if engine is None:
            os.remove(path)  # made by something else after all: the next load builds anew
            raise RuntimeError("TensorRT refuses the engine in %s; it was removed" % path)
        self.made = {name: path}
        return engine

    def _read(self, path: str) -> Any:
        with open(path, "rb") as stream:
            return self._runtime.deserialize_cuda_engine(stream.read())

    def _bind(self, job: Mapping[str, Any]) -> None:
        """Give every tensor memory on the GPU, in the engine's own order."""
        specs = {spec["name"]: spec for spec in (*job["inputs"], *job["outputs"])}
        taken = [spec["name"] for spec in job["inputs"]]
        self._inputs, self._outputs, self._addresses = {}, {}, []  # type: ignore[var-annotated]
        for name, dtype in bindings(self._engine):
            if name not in specs:
                raise RuntimeError("the engine has a tensor %s that the model has not" % name)
            shape = tuple(specs[name]["shape"])
            host = np.zeros(shape, dtype)
            memory = runner_cuda.Memory(self._cuda, host.nbytes)
            self._addresses.append(memory.address)
            (self._inputs if name in taken else self._outputs)[name] = (memory, host)
        missing = [name for name in specs if name not in {**self._inputs, **self._outputs}]
        if missing:
            raise RuntimeError("the engine lacks the tensors %s" % ", ".join(missing))

    def run(self, inputs: Mapping[str, Any]) -> Dict[str, Any]:
        """Infer once; names and shapes are the model's own. Copies to and from the GPU count."""
        for name, (memory, host) in self._inputs.items():
            memory.take(np.ascontiguousarray(inputs[name], host.dtype))
        if not self._context.execute_v2(self._addresses):
            raise RuntimeError("TensorRT could not run the model; its message stands above")
        found = {}
        for name, (memory, host) in self._outputs.items():
            memory.give(host)
            found[name] = host
        return found

    def versions(self) -> Dict[str, str]:
        """Tell the software that ran, and what trtexec measured where it built the engine."""
        versions = {"tensorrt": self._version, "cuda": self._cuda.version()}
        l4t = l4t_release()
        if l4t is not None:
            versions["l4t"] = l4t
        if self._built is not None:
            compute = self._built.times_ms.get("GPU Compute Time", {})
            if "median" in compute:
                versions["trtexec gpu compute ms"] = "%.3f" % compute["median"]
            if self._built.build_s is not None:
                versions["trtexec build s"] = "%.1f" % self._built.build_s
        return versions


def engine_name(onnx: str, precision: str, version: str, root: str = "/") -> str:
    """Return the name of the engine for this very device, wherever it was built.

    ONNX file's hash, precision, TensorRT, L4T and module decide: a board of another kind, or
    the same one after an update, finds nothing under its name.
    """
    text = "\n".join((_sha256(onnx), precision, _device(version, root)))
    return hashlib.sha256(text.encode()).hexdigest()[:32] + ".engine"


def engine_file(
    onnx: str, name: str, precision: str, version: str, root: str = "/"
) -> Tuple[str, Optional[runner_trtexec.Transcript]]:
    """Return the engine that this device keeps, and what trtexec said if it had to be built.

    Raises:
        RuntimeError: it cannot be built.
    """
    folder = os.path.join(_cache_home(), "edgekit", "tensorrt")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name)
    if os.path.exists(path):
        os.utime(path, None)  # lately used: the last to go
        return path, None
    part = "%s.%d.part" % (path, os.getpid())
    device = _device(version, root)
    timing = os.path.join(folder, re.sub(r"[^A-Za-z0-9.]+", "-", device) + ".timing")
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    words = runner_trtexec.command(runner_trtexec.find(), onnx, part, timing, precision, numbers)
    try:
        said = runner_trtexec.run(words, BUILD_TIMEOUT_S)
        if not os.path.exists(part):
            raise RuntimeError("trtexec passed and wrote no engine")
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)
    _forget(folder)
    return path, said


def _device(version: str, root: str) -> str:
    return "-".join((module_name(root), l4t_release(root) or "no-l4t", version))


def bindings(engine: Any) -> List[Tuple[str, str]]:
    """Return name and NumPy's dtype of every input and output, in the engine's order."""
    if hasattr(engine, "num_io_tensors"):  # TensorRT 8.5 and newer
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        types = [engine.get_tensor_dtype(name) for name in names]
    else:
        names = [engine.get_binding_name(index) for index in range(engine.num_bindings)]
        types = [engine.get_binding_dtype(index) for index in range(engine.num_bindings)]
    return [(name, _element(name, kind)) for name, kind in zip(names, types)]


def _element(name: str, kind: Any) -> str:
    # Its own translation to NumPy fails with newer ones: it names a type that they dropped.
    word = str(kind).rpartition(".")[2]
    if word not in _ELEMENTS:
        raise RuntimeError("tensor %s of the engine is %s, which is not served here" % (name, word))
    return _ELEMENTS[word]


def module_name(root: str = "/") -> str:
    """Return the module's device-tree name, such as ``nvidia,p3767-0005``."""
    path = os.path.join(root, "proc/device-tree/compatible")
    try:
        with open(path, "rb") as stream:
            names = stream.read().split(b"\0")
    except OSError:
        return "unknown"
    return names[0].decode("ascii", "replace") or "unknown"


def l4t_release(root: str = "/") -> Optional[str]:
    """Return Jetson Linux's release, such as ``35.3.1``; ``None`` off a Jetson."""
    path = os.path.join(root, "etc/nv_tegra_release")
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            found = re.search(r"R(\d+) \(release\), REVISION: ([0-9.]+)", stream.read())
    except OSError:
        return None
    return "%s.%s" % found.groups() if found else None


def _cache_home() -> str:
    return os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for piece in iter(lambda: stream.read(_CHUNK_BYTES), b""):
            digest.update(piece)
    return digest.hexdigest()


def _forget(folder: str) -> None:
    """Remove the engines that were longest unused, and builds that were killed: disks are small."""
    paths = [os.path.join(folder, name) for name in os.listdir(folder)]
    engines = sorted((p for p in paths if p.endswith(".engine")), key=os.path.getmtime)
    old = time.time() - BUILD_TIMEOUT_S
    killed = [p for p in paths if p.endswith(".part") and os.path.getmtime(p) < old]
    for path in [*engines[:-KEPT_ENGINES], *killed]:
        os.remove(path)


if __name__ == "__main__":
    sys.exit(harness.main(Session))
