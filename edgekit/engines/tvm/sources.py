"""What TVM's runtime is compiled of, where no wheel has it for a board.

The sources are those in TVM's own wheel, which leaves out a few headers: ``cross/headers/tvm``
stands in for them. Or they are a source tree of the user's (``TVM_SOURCE``), which has them all.

Only what loads and runs a compiled model is made: no compiler, no GPU, no RPC.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgekit.core.contracts import LibrarySources
from edgekit.core.errors import ToolboxError

_LOCK: Final = Path(__file__).with_name("host.txt")
_VERSION: Final = re.compile(r'#define\s+TVM_VERSION\s+"([^"]+)"')
_FFI_VERSION: Final = re.compile(r"#define\s+TVM_FFI_VERSION_(?:MAJOR|MINOR)\s+(\d+)")
_REPOSITORY: Final = "https://github.com/apache/tvm"

FFI_LIBRARY: Final = "tvm_ffi/lib/libtvm_ffi.so"
RUNTIME_LIBRARY: Final = "tvm/lib/libtvm_runtime.so"

_FFI: Final = (
    *("backtrace", "container", "custom_allocator", "dtype", "error", "function", "init_once"),
    *("object", "tensor", "extra/env_c_api", "extra/env_context", "extra/json_parser"),
    *("extra/json_writer", "extra/library_module", "extra/library_module_dynamic_lib"),
    *("extra/library_module_system_lib", "extra/module"),
)
_RUNTIME: Final = (
    *("const_loader_module", "cpu_device_api", "device_api", "file_utils", "logging"),
    *("memory/memory_manager", "module", "tensor", "thread_pool", "threading_backend", "timer"),
    *("vm/builtin", "vm/bytecode", "vm/executable", "vm/vm", "workspace_pool"),
)
# All boards are; TVM's own header finds that out for few C libraries only.
_BOTH: Final = ("-DTVM_FFI_CMAKE_LITTLE_ENDIAN=1",)
# No stack traces: they would need another library, and names that are stripped.
_FFI_FLAGS: Final = (
    *_BOTH,
    "-DTVM_FFI_EXPORTS",
    "-DTVM_FFI_USE_LIBBACKTRACE=0",
    "-DTVM_FFI_BACKTRACE_ON_SEGFAULT=0",
)
_RUNTIME_FLAGS: Final = (*_BOTH, "-DTVM_RUNTIME_EXPORTS")


def in_wheels(site: Path, stand_ins: Path) -> tuple[LibrarySources, LibrarySources]:
    """Return what to compile of the sources in TVM's wheels.

    Args:
        site: folder of packages in the toolbox.
        stand_ins: ``cross/headers/tvm``.

    Raises:
        ToolboxError: a file is missing.
    """
    include = stand_ins / "include"
    libraries = _libraries(
        ffi=site / "tvm_ffi",
        runtime=site / "tvm",
        # The sources include "../support/X" and "../../support/X", seen from their own folders.
        includes=(include, include / "tvm"),
        support=stand_ins / "support",
    )
    missing = _missing(libraries)
    if missing is not None:
        raise ToolboxError(
            f"TVM's wheel holds no {missing.name}, of which its runtime would be compiled",
            hint=f"TVM_SOURCE=TREE names a source tree instead: {how_to_clone()}",
        )
    return libraries


def in_tree(root: Path) -> tuple[LibrarySources, LibrarySources]:
    """Return what to compile of a source tree.

    Raises:
        ToolboxError: it is no such tree, of another version, or not whole.
    """
    named = f"TVM_SOURCE names {root}"
    if not root.is_dir():
        raise ToolboxError(f"{named}, which is no folder", hint=how_to_clone())
    found = _version(root / "include" / "tvm" / "runtime" / "base.h")
    if found is None:
        raise ToolboxError(
            f"{named}, which is no source tree of TVM: include/tvm/runtime/base.h tells no version",
            hint=how_to_clone(),
        )
    if found != wanted_version():
        raise ToolboxError(
            f"{named}, TVM {found}; edgekit compiles models with TVM {wanted_version()}, and a "
            "runtime of another version may not load them",
            hint=how_to_clone(),
        )
    ffi = root / "3rdparty" / "tvm-ffi"
    _check_ffi(named, ffi)
    libraries = _libraries(ffi=ffi, runtime=root, includes=(), support=root / "src" / "support")
    missing = _missing(libraries)
    if missing is not None:
        raise ToolboxError(
            f"{named}, which is not whole: {missing.relative_to(root)} is missing",
            hint=f"git -C {root} submodule update --init --recursive; or {how_to_clone()}",
        )
    return libraries


def wanted_version() -> str:
    """Return the version of TVM that a tree must have: a package's later builds do not count."""
    return _pinned("apache-tvm").partition(".post")[0]


def how_to_clone() -> str:
    """Return the command that brings the source tree."""
    return f"git clone --recursive --branch v{wanted_version()} {_REPOSITORY}"


def _check_ffi(named: str, folder: Path) -> None:
    header = folder / "include" / "tvm" / "ffi" / "c_api.h"
    try:
        text = header.read_text(encoding="utf-8", errors="replace")
    except OSError:
        root = folder.parent.parent
        raise ToolboxError(
            f"{named}, whose submodule 3rdparty/tvm-ffi was not fetched",
            hint=f"git -C {root} submodule update --init --recursive",
        ) from None
    found = ".".join(_FFI_VERSION.findall(text))
    wanted = ".".join(_pinned("apache-tvm-ffi").split(".")[:2])
    if found != wanted:
        raise ToolboxError(
            f"{named}, whose 3rdparty/tvm-ffi is {found or 'of no version'}; compiled models call "
            f"the interface of {wanted}",
            hint=how_to_clone(),
        )


def _libraries(
    ffi: Path, runtime: Path, includes: Sequence[Path], support: Path
) -> tuple[LibrarySources, LibrarySources]:
    own = (ffi / "include", ffi / "3rdparty" / "dlpack" / "include")
    return (
        LibrarySources(
            path=FFI_LIBRARY,
            files=tuple(ffi / "src" / "ffi" / f"{name}.cc" for name in _FFI),
            includes=own,
            flags=_FFI_FLAGS,
            headers=(ffi / "src",),
        ),
        LibrarySources(
            path=RUNTIME_LIBRARY,
            files=tuple(runtime / "src" / "runtime" / f"{name}.cc" for name in _RUNTIME),
            includes=(runtime / "include", *includes, *own),
            flags=_RUNTIME_FLAGS,
            needs=(FFI_LIBRARY,),
            headers=(runtime / "src" / "runtime", support),
        ),
    )


def _missing(libraries: Sequence[LibrarySources]) -> Path | None:
    paths = (path for each in libraries for path in (*each.files, *each.includes, *each.headers))
    return next((path for path in paths if not path.exists()), None)


def _version(header: Path) -> str | None:
    try:
        match = _VERSION.search(header.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return match[1] if match else None


def _pinned(package: str) -> str:
    match = re.search(rf"^{package}==([^\s;\\]+)", _LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise RuntimeError(f"{_LOCK} pins no {package}")
    return match[1]
