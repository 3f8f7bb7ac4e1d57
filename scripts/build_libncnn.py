"""Build ncnn's library, with its C interface, for boards on which no package has it.

    python scripts/build_libncnn.py ARCHITECTURE FOLDER [LAYER ...]

Leaves ``libncnn.so`` in the folder: the version for which edgekit converts, from the package
index's source, for any board with glibc 2.17, without Vulkan. CMake must be here; the compiler is
Zig's, out of edgekit's toolbox. Named layers: only these, with what they need, are built, and only
for the oldest CPUs: enough to try a library, in a tenth of the time.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from uv import find_uv_bin

from edgekit.core.events import ignore
from edgekit.engines import load_engine
from edgekit.toolbox.environments import environment
from edgekit.toolbox.native import COMPILER
from edgekit.toolbox.toolchains import TRIPLES, zig_target

# The source is fetched as it was when this was written, or not at all.
VERSION = "1.0.20261020"
SHA256 = "ad8cdd63e9755cfa8e23b9b6d9ce46156077d80298a89e7c3ba325ffccfca200"
GLIBC = "2.17"
LIBRARY = "libncnn.so"
# What others are made of, whether a model names them or not.
NEEDED = frozenset(
    {"Cast", "Clip", "Dequantize", "Flatten", "Gemm", "Input", "Packing", "Padding", "Quantize"}
    | {"ReLU", "Requantize", "Reshape", "Split"}
)
OFF = (
    *("VULKAN", "BUILD_TOOLS", "BUILD_EXAMPLES", "BUILD_BENCHMARK", "BUILD_TESTS", "PYTHON"),
    *("SIMPLEOCV", "PIXEL", "PIXEL_ROTATE", "PIXEL_AFFINE", "PIXEL_DRAWING"),
)
# Zig knows features by LLVM's names, and no -march for ARM.
DRIVER = r"""#!/bin/sh
for word; do
    shift
    case $word in
        -march=armv8.*)
            word=$(echo "$word" | sed -e 's/-march=armv8[.]/-mcpu=generic+v8_/' -e 's/-a+/a+/' \
                -e 's/+fp16$/+fullfp16/' -e 's/+fp16+/+fullfp16+/') ;;
    esac
    set -- "$@" "$word"
done
exec {command} "$@"
"""


def main(architecture: str, folder: Path, layers: Collection[str]) -> None:
    """Build the library in a folder of its own, and leave it where it was asked for."""
    if shutil.which("cmake") is None:
        sys.exit("CMake is not here: sudo apt install cmake")
    with tempfile.TemporaryDirectory(prefix="libncnn-") as scratch:
        work = Path(scratch)
        source = fetch(work)
        build = work / "build"
        build.mkdir()
        options = [*toolchain(architecture, work, lean=bool(layers)), *without(layers, source)]
        options += [f"-DNCNN_{name}=OFF" for name in OFF]
        # Zig brings no OpenMP: ncnn has a small one of its own.
        options += ["-DNCNN_SHARED_LIB=ON", "-DNCNN_SIMPLEOMP=ON", "-DCMAKE_BUILD_TYPE=Release"]
        options += [
            # What a layer left out would be missed by is told here, not on the board.
            "-DCMAKE_SHARED_LINKER_FLAGS=-s -Wl,-z,defs -lpthread",
        ]
        if layers:
            # Without choosing as it runs, all is made for the newest CPU that is not ruled out.
            options += ["-DNCNN_RUNTIME_CPU=OFF", "-DNCNN_ARM82=OFF", "-DNCNN_AVX=OFF"]
            # Without C++'s own library, which Zig would first compile: longer than all of this.
            options += ["-DNCNN_SIMPLESTL=ON", "-DNCNN_DISABLE_RTTI=ON"]
            options += ["-DNCNN_DISABLE_EXCEPTION=ON", "-DNCNN_BF16=OFF"]
            # What CMake tries it only compiles; each link would take longer than a layer.
            options += ["-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY"]
        options += [f"-DNCNN_VERSION={VERSION.rpartition('.')[2]}"]
        run(["cmake", *options, str(source)], build)
        run(["cmake", "--build", ".", "--parallel", str(os.cpu_count() or 1)], build)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(build / "src" / LIBRARY, folder / LIBRARY)


def fetch(work: Path) -> Path:
    """Return the folder with ncnn's source."""
    # pip refuses the source by its name alone: its setup calls itself by the day's date.
    wanted = f"ncnn=={VERSION}"
    command = [find_uv_bin(), "pip", "compile", "--quiet", "--no-deps", "--format=pylock.toml", "-"]
    said = subprocess.run(command, input=wanted, capture_output=True, text=True, check=True).stdout
    address = re.search(r'sdist = \{ url = "([^"]+)"', said)
    if address is None:
        sys.exit(f"the package index has no source of {wanted}")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
    run([*pip, f"ncnn @ {address[1]}#sha256={SHA256}"], work)
    (archive,) = work.glob("ncnn-*.tar.gz")
    with tarfile.open(archive) as packed:
        # Debian 12's Python has no filters yet; by its SHA-256 it is what PyPI was given.
        packed.extractall(work)  # noqa: S202
    return next(path for path in work.glob("ncnn-*") if path.is_dir())


def toolchain(architecture: str, work: Path, *, lean: bool) -> list[str]:
    """Return CMake's options for Zig, called by scripts as CMake wants one word.

    Lean: C++ without its own library.
    """
    zig = f"{environment(COMPILER, emit=ignore).python} -m ziglang"
    target = " ".join(zig_target(architecture, GLIBC))
    cxx = "cc" if lean else "c++"
    # Zig's default is -g, for what is stripped in the end.
    tools = {"cc": f"{zig} cc {target} -g0", "c++": f"{zig} {cxx} {target} -g0"}
    tools |= {"ar": f"{zig} ar", "ranlib": f"{zig} ranlib"}
    for name, command in tools.items():
        path = work / name
        path.write_text(DRIVER.replace("{command}", command), encoding="utf-8")
        path.chmod(0o755)
    return [
        "-DCMAKE_SYSTEM_NAME=Linux",
        f"-DCMAKE_SYSTEM_PROCESSOR={architecture}",
        f"-DCMAKE_C_COMPILER={work / 'cc'}",
        f"-DCMAKE_CXX_COMPILER={work / 'c++'}",
        f"-DCMAKE_AR={work / 'ar'}",
        f"-DCMAKE_RANLIB={work / 'ranlib'}",
    ]


def without(layers: Collection[str], source: Path) -> list[str]:
    """Return CMake's options for all layers but these to be left out; none for no layers."""
    text = (source / "src" / "CMakeLists.txt").read_text(encoding="utf-8")
    known = re.findall(r"^ncnn_add_layer\((\w+)", text, re.MULTILINE)
    if unknown := set(layers) - set(known):
        sys.exit(f"ncnn {VERSION} has no layer {', '.join(sorted(unknown))}")
    left = set(known) - NEEDED - set(layers) if layers else ()
    return [f"-DWITH_LAYER_{name.lower()}=OFF" for name in sorted(left)]


def run(command: Sequence[str], folder: Path) -> None:
    """Run a command; end with its last words where it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-4000:]}")


if __name__ == "__main__":
    if not sys.argv[2:] or sys.argv[1] not in TRIPLES:
        sys.exit(__doc__)
    locked = load_engine("ncnn").toolbox.requirements.read_text(encoding="utf-8")
    if f"ncnn=={VERSION} " not in locked:
        sys.exit(f"edgekit no longer converts for ncnn {VERSION}: raise VERSION and SHA256 here")
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
