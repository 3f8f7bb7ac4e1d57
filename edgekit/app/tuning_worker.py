"""The process in TVM's toolbox that proposes and builds candidates, started for a model."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edgekit.catalog.cache import cache_root
from edgekit.core.events import EventSink
from edgekit.core.model import Model
from edgekit.core.names import Precision
from edgekit.core.target import Target
from edgekit.tune.worker import Worker

_BATCH: Final = 16


@contextmanager
def start_worker(
    model: Model,
    target: Target,
    scratch: Path,
    *,
    precision: Precision,
    seed: int = 0,
    scheduler: str | None = None,
    emit: EventSink,
) -> Iterator[Worker]:
    """Start what proposes and builds candidates; the toolbox is made on first use.

    Args:
        model: whose tasks are to be tuned.
        target: the kind of board.
        scratch: an empty folder of the session's own.
        precision: to build in.
        seed: where the search starts.
        scheduler: of the Dask cluster that compiles candidates; ``None``: this machine does.
        emit: told of the toolbox if it is to be made.

    Raises:
        EngineError: the toolbox is not to be had. That the cluster cannot be used, the worker
            tells when it is asked first.
    """
    from edgekit.catalog.folders import builtin_folder
    from edgekit.engines.tvm.cpu import GLIBC, description
    from edgekit.engines.tvm.tuning import TOOLBOX, WORKER
    from edgekit.toolbox import toolchains
    from edgekit.toolbox.environments import environment, own_python
    from edgekit.toolbox.process import new_log

    python = environment(TOOLBOX, emit=emit).python
    job = {
        "model": str(model.onnx.path),
        "cpu": description(target),
        "architecture": target.architecture,
        "glibc": GLIBC,
        "toolchains": toolchains.__file__,
        "sources": str(builtin_folder("cross") / "runners" / "tvm"),
        "scratch": str(scratch),
        "precision": precision,
        "seed": seed,
        "batch": _BATCH,
        "workers": os.cpu_count() or 1,
        "scheduler": scheduler,
    }
    file = scratch / "job.json"
    file.write_text(json.dumps(job), encoding="utf-8")
    command = [*own_python(python), str(WORKER), str(file)]
    with Worker(command, new_log(cache_root() / "logs", "tune")) as worker:
        yield worker
