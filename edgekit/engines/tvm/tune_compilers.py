"""What compiles candidates: threads of this process, or a Dask cluster. Both run one function.

Runs inside the toolbox of tuning.
"""

import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

# What loads a Python file under a name of our own.
Load = Callable[[str, Path], ModuleType]

_FILE = Path(__file__).with_name("tune_kernel.py")
_CONNECT_S = 10
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
    """An executor, and ``tune_kernel.compile_kernel`` on it.

    Args:
        kernel: the module ``tune_kernel``, as :func:`load_kernel` gave it.
        executor: runs it.
        where: as an error calls the executor.
    """

    def __init__(
        self,
        kernel: ModuleType,
        executor: Executor,
        where: str = "",
        *,
        close: Callable[[], object] = lambda: None,
    ) -> None:
        self._kernel = kernel
        self._executor = executor
        self._where = where
        self._close = close
        self._tvm = kernel.tvm_version()

    def compile(self, module: Any, target: str) -> tuple[bytes | None, str]:  # noqa: ANN401 - TVM's
        """Return the object file of a scheduled function, or what went wrong in one line.

        Raises:
            ClusterError: the executor is lost.
        """
        text = self._kernel.as_text(module)
        try:
            future = self._executor.submit(self._kernel.compile_kernel, text, target, self._tvm)
            compiled: tuple[bytes | None, str] = future.result(_ANSWER_S)
        except Exception as error:
            # Dask gives up on work after which one worker after the other was dead.
            if type(error).__name__ == "KilledWorker":
                return None, "every worker that compiled it died"
            raise _lost(self._where, _words(error)) from error
        return compiled

    def close(self) -> None:
        """End, without waiting for work that nobody wants any more."""
        self._executor.shutdown(wait=False)
        self._close()


def load_kernel(scratch: Path, load: Load) -> ModuleType:
    """Load ``tune_kernel`` under a name that says what is in it.

    So a cluster can serve several versions of edgekit at once, and never runs an older one's.
    """
    digest = hashlib.sha256(_FILE.read_bytes()).hexdigest()[:16]
    copy = scratch / f"edgekit_tune_kernel_{digest}.py"
    shutil.copyfile(_FILE, copy)
    return load(copy.stem.removeprefix("edgekit_"), copy)


def local_compilers(kernel: ModuleType, threads: int) -> Compilers:
    """Return threads of this process: TVM lets others run while it compiles."""
    return Compilers(kernel, ThreadPoolExecutor(threads))


def cluster_compilers(kernel: ModuleType, scheduler: str) -> Compilers:
    """Return a Dask cluster that was seen to have workers with this very TVM.

    Args:
        kernel: from :func:`load_kernel`.
        scheduler: such as ``tcp://10.0.0.5:8786``.

    Raises:
        ClusterError: no scheduler answers, it has no workers, or they have another TVM.
    """
    from distributed import Client  # type: ignore[import-not-found] # only the toolbox has it

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
    return Compilers(kernel, client.get_executor(), scheduler, close=lambda: client.close(1))


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
