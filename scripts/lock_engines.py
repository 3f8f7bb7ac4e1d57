"""Write the hash-locked requirement files of every engine, and of the toolboxes of no engine.

    python scripts/lock_engines.py [ENGINE ...]

``host.txt`` locks the toolbox (one version for every Python it may run on), ``tune.txt`` that of
tuning. ``board.txt`` locks
what runs on the board: for each Python of ``PYTHONS`` the newest version that has a wheel there,
under a ``python_version`` marker. A board whose libc is too old for that wheel has no use for
the entry: ``edgekit.toolbox.wheels`` says so when it looks for the wheel.
"""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import uv

PACKAGE = Path(__file__).resolve().parents[1] / "edgekit"
ENGINES = PACKAGE / "engines"
PYTHONS = ("3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
# Wheel platforms that the package index tells apart, the more frugal first: a version that only
# newer libcs can take is locked where there is no other. Older libcs take what they can.
BOARD_PLATFORMS = ("aarch64-manylinux_2_31", "aarch64-manylinux_2_35")
HOST = {
    # onnx and what it imports: ONNX Runtime's quantiser is made of it.
    "onnxruntime": (
        "onnxruntime==1.31.1",
        "numpy==2.4.6",
        "onnx==1.23.2",
        "ml-dtypes==0.6.0",
        "packaging==26.3",
        "protobuf==7.36.2",
        "typing-extensions==4.16.0",
    ),
    # onnx, to know layers by their weights.
    "ncnn": (
        "ncnn==1.0.20261020",
        "pnnx==20261020",
        "onnxruntime==1.31.1",
        "numpy==2.4.6",
        "onnx==1.23.2",
        "ml-dtypes==0.6.0",
        "protobuf==7.36.2",
        "typing-extensions==4.16.0",
    ),
    "mnn": (
        "mnn==3.6.1",
        "ml-dtypes==0.6.0",
        "numpy==2.4.6",
        "onnx==1.23.2",
        "onnxruntime==1.31.1",
        "protobuf==7.36.2",
        "typing-extensions==4.16.0",
    ),
    # What nncf imports to quantise for OpenVINO. Never openvino-telemetry, which it declares:
    # without it nncf sends nothing.
    "openvino": (
        "openvino==2026.4.1",
        "nncf==3.4.0",
        "ml-dtypes==0.6.0",
        "networkx==3.6.1",
        "numpy==2.4.6",
        "onnx==1.23.2",
        "onnxruntime==1.31.1",
        "packaging==26.3",
        "protobuf==7.36.2",
        "psutil==7.2.2",
        "rich==15.0.0",
        "safetensors==0.8.0",
        "scipy==1.17.1",
        "tabulate==0.10.0",
        "typing-extensions==4.16.0",
    ),
    # What x2paddle and paddlepaddle import on the way; pre-releases are the only Paddle Lite for
    # a Python on which the others are to be had, and 2 of NumPy breaks it silently.
    "paddlelite": (
        "paddlelite==2.13rc0",
        "paddlepaddle==2.6.2",
        "x2paddle==1.6.0",
        "onnx==1.16.2",
        "onnxruntime==1.23.2",
        "numpy==1.26.4",
        "anyio==4.12.1",
        "astor==0.8.1",
        "certifi==2026.10.18",
        "charset-normalizer==3.4.2",
        "decorator==5.2.1",
        "exceptiongroup==1.3.1",
        "h11==0.16.0",
        "httpcore==1.0.9",
        "httpx==0.27.2",
        "idna==3.10",
        "mpmath==1.3.0",
        "opt-einsum==3.3.0",
        "packaging==26.3",
        "pillow==11.3.0",
        "protobuf==3.20.3",
        "requests==2.32.3",
        "setuptools==80.9.0",
        "six==1.17.0",
        "sniffio==1.3.1",
        "sympy==1.13.3",
        "typing-extensions==4.16.0",
        "urllib3==2.4.0",
    ),
    # What onnx2tf imports on its way without TensorFlow; it declares some 500 MB more.
    "tflite": (
        "onnx2tf==2.6.9",
        "ai-edge-litert==2.3.0",
        "litert-quantizer==0.11.0",
        "absl-py==2.5.1",
        "flatbuffers==25.12.19",
        "immutabledict==4.3.1",
        "ml-dtypes==0.6.0",
        "numpy==2.4.6",
        "onnx==1.23.2",
        "onnxruntime==1.31.1",
        "protobuf==7.36.2",
        "psutil==7.2.2",
        "scipy==1.17.1",
        "sng4onnx==2.0.1",
        "tqdm==4.70.1",
        "typing-extensions==4.16.0",
    ),
    "tensorrt": (
        "ml-dtypes==0.6.0",
        "numpy==2.4.6",
        "onnx==1.23.2",
        "onnxruntime==1.31.1",
        "protobuf==7.36.2",
        "typing-extensions==4.16.0",
    ),
    # Both parts of TVM in these versions only: with a newer tvm-ffi, tuning records cannot be
    # written. ziglang compiles and links for boards.
    "tvm": (
        "apache-tvm==0.27.0.post1",
        "apache-tvm-ffi==0.1.14.post1",
        "ml-dtypes==0.6.0",
        "numpy==2.4.6",
        "onnx==1.23.2",
        "onnxruntime==1.31.1",
        "protobuf==7.36.2",
        "typing-extensions==4.16.0",
        "ziglang==0.17.1",
    ),
    # Without PyTorch, which build.py says why it can be without; the toolkit takes onnx up to
    # 1.18 and setuptools before 81 (pkg_resources).
    "rknn": (
        "rknn-toolkit2==2.5.0",
        "fast-histogram==0.14",
        "numpy==2.4.6",
        "onnx==1.18.0",
        "onnxruntime==1.31.1",
        "opencv-python-headless==5.0.0.93",
        "protobuf==6.33.6",
        "psutil==7.2.2",
        "ruamel-yaml==0.19.1",
        "scipy",
        "setuptools==80.10.2",
        "tqdm==4.70.1",
        "typing-extensions==4.16.0",
    ),
}
# What tuning needs besides, in a toolbox of its own: tune.txt. xgboost-cpu is XGBoost without CUDA.
# distributed, with what it imports, builds on other machines.
TUNE = {
    "tvm": (
        *HOST["tvm"],
        "scipy==1.17.1",
        "xgboost-cpu",
        "distributed",
        "dask",
        "click",
        "cloudpickle",
        "fsspec",
        "importlib-metadata<10 ; python_version < '3.12'",
        "jinja2",
        "locket",
        "markupsafe",
        "msgpack",
        "packaging",
        "partd",
        "psutil",
        "pyyaml",
        "sortedcontainers",
        "tblib",
        "toolz",
        "tornado",
        "zict",
        "zipp ; python_version < '3.12'",
    )
}
# Toolboxes that belong to no engine: edgekit/toolbox/<name>.txt.
TOOLBOXES = {"zig": ("ziglang==0.17.1",)}
# What a board may be lent besides an engine's runtime: edgekit/toolbox/<name>/board.txt. OpenCV
# without NumPy, which the engine's runtime has: 4.6 goes with 1.19, 5.0 with 1.21 to 2.5.
LENT = {"opencv": ("opencv-python-headless",)}
# The Python that locks are made for: where a package declares a newer one than it needs.
HOST_PYTHON = {"paddlelite": "3.10", "tflite": "3.12"}
BOARD = {
    "onnxruntime": ("onnxruntime", "numpy"),
    "ncnn": ("ncnn", "numpy"),
    "mnn": ("mnn", "numpy"),
    "openvino": ("openvino", "numpy"),
    "paddlelite": ("paddlelite==2.13rc0", "numpy<2"),
    "rknn": ("rknn-toolkit-lite2", "numpy", "psutil", "ruamel-yaml"),
    # TensorRT itself comes with JetPack.
    "tensorrt": ("numpy",),
    "tflite": ("ai-edge-litert", "tflite-runtime", "numpy"),
    # Of TVM libraries alone are taken, which suit any Python.
    "tvm": ("apache-tvm==0.27.0.post1", "apache-tvm-ffi==0.1.14.post1", "numpy"),
}
# Packages that have wheels for some Pythons only.
SERVED = {
    "ai-edge-litert": ("3.9", "3.14"),
    "apache-tvm==0.27.0.post1": ("3.12", "3.12"),
    "apache-tvm-ffi==0.1.14.post1": ("3.12", "3.12"),
    "numpy<2": ("3.8", "3.10"),
    "openvino": ("3.8", "3.14"),
    "paddlelite==2.13rc0": ("3.8", "3.10"),
    "rknn-toolkit-lite2": ("3.7", "3.12"),
    "tflite-runtime": ("3.7", "3.11"),
}
# Not the newest: NumPy 1.19.5 dies of an illegal instruction on Jetsons, which have Python 3.6.
# Source: numpy/numpy#18131.
CHOSEN = {("numpy", "3.6"): "numpy==1.19.4"}
# From this Python on another platform: boards have a newer libc (Ubuntu 22.04: 3.10, 2.35), and the
# package asks it; or there are wheels for x86-64 alone.
NEWER_PLATFORM = {
    "numpy<2": ("3.8", "x86_64-manylinux_2_31"),
    "openvino": ("3.10", "aarch64-manylinux_2_35"),
    "paddlelite==2.13rc0": ("3.8", "x86_64-manylinux_2_31"),
}


def compile_lock(requirements: Iterable[str], *options: str) -> str:
    """Return what ``uv pip compile`` locks, without header and annotations.

    Raises:
        SystemExit: no version fits.
    """
    command = [uv.find_uv_bin(), "pip", "compile", "-", "--generate-hashes", "--no-header"]
    command += ["--no-annotate", "--no-deps", "--only-binary", ":all:", "--quiet", *options]
    done = subprocess.run(
        command, input="\n".join(requirements), check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def board_platforms(package: str, python: str) -> tuple[str, ...]:
    """Return the wheel platforms of the boards that have this Python, the preferred first."""
    if package in NEWER_PLATFORM:
        since, platform = NEWER_PLATFORM[package]
        if PYTHONS.index(python) >= PYTHONS.index(since):
            return (platform,)
    return BOARD_PLATFORMS


def newest_lock(package: str, python: str) -> str:
    """Return the entry of the newest version with a wheel for one Python that may be used."""
    package = CHOSEN.get((package, python), package)
    options = ("--python-version", python, "--python-platform")
    *preferred, last = board_platforms(package.partition("==")[0], python)
    for platform in preferred:
        with contextlib.suppress(SystemExit):
            return compile_lock([package], *options, platform)
    return compile_lock([package], *options, last)


def board_lock(package: str) -> str:
    """Return ``package``'s entries: the newest version with a wheel, for each Python."""
    first, last = map(PYTHONS.index, SERVED.get(package, (PYTHONS[0], PYTHONS[-1])))
    pythons: dict[str, list[str]] = {}
    for python in PYTHONS[first : last + 1]:
        pythons.setdefault(newest_lock(package, python), []).append(python)
    entries = []
    for entry, served in pythons.items():
        bounds = []
        if served[0] != PYTHONS[0]:
            bounds.append(f"python_version >= '{served[0]}'")
        if served[-1] != PYTHONS[-1]:
            after = PYTHONS[PYTHONS.index(served[-1]) + 1]
            bounds.append(f"python_version < '{after}'")
        marker = f" ; {' and '.join(bounds)}" if bounds else ""
        entries.append(re.sub(r"^(\S+==\S+)", rf"\1{marker}", entry, count=1))
    return "".join(entries)


def main() -> None:
    """Lock the engines named on the command line; without a name all, and the other toolboxes."""
    for name, requirements in TOOLBOXES.items() if len(sys.argv) == 1 else ():
        lock = compile_lock(requirements, "--python-version", "3.11", "--universal")
        (PACKAGE / "toolbox" / f"{name}.txt").write_text(lock, encoding="utf-8")
        print(f"{name}: {name}.txt written")
    for name, packages in LENT.items() if len(sys.argv) == 1 else ():
        folder = PACKAGE / "toolbox" / name
        folder.mkdir(exist_ok=True)
        lock = "".join(board_lock(package) for package in packages)
        (folder / "board.txt").write_text(lock, encoding="utf-8")
        print(f"{name}: board.txt written")
    for engine in sys.argv[1:] or sorted(HOST):
        folder = ENGINES / engine
        python = HOST_PYTHON.get(engine, "3.11")
        lock = compile_lock(HOST[engine], "--python-version", python, "--universal")
        (folder / "host.txt").write_text(lock, encoding="utf-8")
        if engine in TUNE:
            lock = compile_lock(TUNE[engine], "--python-version", python, "--universal")
            (folder / "tune.txt").write_text(lock, encoding="utf-8")
        lock = "".join(board_lock(package) for package in BOARD[engine])
        (folder / "board.txt").write_text(lock, encoding="utf-8")
        print(f"{engine}: host.txt and board.txt written")


if __name__ == "__main__":
    main()
