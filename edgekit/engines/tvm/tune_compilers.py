"""What compiles candidates: processes here, or a Dask cluster. Both run one function.

Runs inside the toolbox of tuning.
"""

import hashlib
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

# What loads a Python file under a name of our own.
Load = Callable[[str, Path], ModuleType]

Compiled = tuple[bytes | None, str]

_FILE = Path(__file__).with_name("tune_kernel.py")
_PROCESS = Path(__file__).with_name("tune_process.py")
_CONNECT_S = 10
# Loops that are unrolled without end take minutes, and lose.
_COMPILING_S = 60.0
# A candidate compiles within seconds. Longer than this nobody waits for a cluster.
_ANSWER_S = 900.0
_TOLD = 3


class ClusterError(RuntimeError):
    """The cluster cannot be used, or not any more; no candidate is to blame.

    Attributes:
        hint: what to do.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Compilers:
    """Has ``tune_kernel.compile_kernel`` run elsewhere.

    Args:
        kernel: the module ``tune_kernel``, as :func:`load_kernel` gave it.
        submit: takes that function's arguments to where it runs.
        where: as an error calls that.
    """

    def __init__(
        self,
        kernel: ModuleType,
        submit: "Callable[[str, str, str], Future[Compiled]]",
        where: str = "",
        *,
        close: Callable[[], object] = lambda: None,
    ) -> None:
        self._kernel = kernel
        self._submit = submit
        self._where = where
        self._close = close
        self._tvm = kernel.tvm_version()

    def compile(self, module: Any, target: str) -> Compiled:  # noqa: ANN401 - TVM's
        """Return the object file of a scheduled function, or what went wrong in one line.

        Raises:
            ClusterError: the executor is lost.
        """
        text = self._kernel.as_text(module)
        try:
            return self._submit(text, target, self._tvm).result(_ANSWER_S)
        except Exception as error:
            # Dask gives up on work after which one worker after the other was dead.
            if type(error).__name__ == "KilledWorker":
                return None, "every worker that compiled it died"
            raise _lost(self._where, _words(error)) from error

    def close(self) -> None:
        """End, without waiting for work that nobody wants any more."""
        self._close()


def load_kernel(scratch: Path, load: Load) -> ModuleType:
    """Load ``tune_kernel`` under a name that says what is in it.

    So a cluster can serve several versions of edgekit at once, and never runs an older one's.
    """
    digest = hashlib.sha256(_FILE.read_bytes()).hexdigest()[:16]
    copy = scratch / f"edgekit_tune_kernel_{digest}.py"
    shutil.copyfile(_FILE, copy)
    return load(copy.stem.removeprefix("edgekit_"), copy)


def local_compilers(kernel: ModuleType, count: int) -> Compilers:
    """Return so many processes of this machine.

    Args:
        kernel: from :func:`load_kernel`.
        count: of processes.
    """
    from .tune_processes import Processes

    flags = ("-I", "-X", f"pycache_prefix={sys.pycache_prefix}") if sys.pycache_prefix else ("-I",)
    command = [sys.executable, *flags, str(_PROCESS), str(kernel.__file__)]
    processes = Processes(command, count, _COMPILING_S)
    return Compilers(kernel, processes.submit, close=processes.close)


def cluster_compilers(kernel: ModuleType, scheduler: str) -> Compilers:
    """Return a Dask cluster that was seen to have workers with this very TVM.

    Args:
        kernel: from :func:`load_kernel`.
        scheduler: such as ``tcp://10.0.0.5:8786``.

    Raises:
        ClusterError: no scheduler answers, it has no workers, or they have another TVM.
    """
    from distributed import Client  # type: ignore[import-not-found] # only the toolbox has it
    from distributed.client import ClosedClientError  # type: ignore[import-not-found] # as above

    start = f"edgekit cluster worker {scheduler.partition('://')[2]}"
    try:
        client = Client(scheduler, timeout=_CONNECT_S, set_as_default=False, name="edgekit-tune")
    except Exception as error:  # whatever listens there may be no scheduler
        raise ClusterError(
            f"no Dask scheduler answers at {scheduler}",
            "start one with edgekit cluster scheduler, and see that its port can be reached",
        ) from error
    try:
        _check(client, kernel, scheduler, start)
    except BaseException:
        client.close(timeout=1)
        raise
    executor = client.get_executor()

    def close() -> None:
        # A cluster that is lost was told of before; there is nothing left to cancel on it.
        with suppress(ClosedClientError):
            executor.shutdown(wait=False)
        client.close(1)

    submit = partial(executor.submit, kernel.compile_kernel)
    return Compilers(kernel, submit, scheduler, close=close)


def _check(client: Any, kernel: ModuleType, scheduler: str, start: str) -> None:  # noqa: ANN401 - distributed's
    """Have the workers take up the code, those that come later too; compare versions."""
    from distributed.diagnostics.plugin import (  # type: ignore[import-not-found] # as above
        SchedulerUploadFile,
        UploadFile,
    )

    if not client.nthreads():
        raise ClusterError(
            f"the Dask scheduler at {scheduler} has no workers",
            f"on each machine that is to help: {start}",
        )
    try:
        for plugin in (SchedulerUploadFile(kernel.__file__), UploadFile(kernel.__file__)):
            client.register_plugin(plugin, name=kernel.__name__)
        versions = client.run(kernel.tvm_version)
    except Exception as error:
        raise _lost(scheduler, _words(error)) from error
    wanted = kernel.tvm_version()
    others = sorted(
        f"{name} has {has or 'none'}" for name, has in versions.items() if has != wanted
    )
    if others:
        more = f" and {len(others) - _TOLD} more" if len(others) > _TOLD else ""
        raise ClusterError(
            f"tuning needs TVM {wanted} on all {len(versions)} workers of {scheduler}: "
            f"{', '.join(others[:_TOLD])}{more}",
            f"start workers from an edgekit of this version: {start}",
        )


def _words(error: Exception) -> str:
    if isinstance(error, CancelledError):
        return "the scheduler went away with the work"
    if isinstance(error, TimeoutError):
        return f"no answer within {_ANSWER_S:g} s"
    return "; ".join(str(error).strip().splitlines()) or type(error).__name__


def _lost(where: str, why: str) -> ClusterError:
    return ClusterError(
        f"the Dask cluster at {where} cannot be used: {why}",
        "the same command goes on from here; without --workers this machine compiles",
    )
