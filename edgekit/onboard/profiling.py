"""The time of each layer of a loaded model, as its engine tells it."""

import json
import os
import shutil
from typing import Any, Callable, Dict, List, Mapping

from edgekit.onboard.faults import RunFailedError, in_words
from edgekit.onboard.timing import timed

FILE = "layers.json"
_SCRATCH = "profile"


class Layers:
    """What a session tells of its layers, run by run; the figure of each is its median.

    A session that can tell has ``profile(inputs, runs, layers, folder)``: it infers ``runs``
    times, and for each of them calls :meth:`see` for every layer that was computed, in the order
    in which they were, then :meth:`end_run`. It may leave files in ``folder`` and name them in
    ``files``: they are brought to the host, for the engine's mapper of layers to ONNX nodes
    (``edgekit/engines/<name>/layers.py``). The session need not be of use afterwards.

    Attributes:
        files: by name what the mapper needs beside the figures.
        method: how the times were taken, in words, where it is not by the engine's own counters.
    """

    def __init__(self) -> None:
        self.files = {}  # type: Dict[str, str]
        self.method = ""
        self._facts = {}  # type: Dict[Any, Mapping[str, Any]]
        self._now = {}  # type: Dict[Any, int]
        self._samples = {}  # type: Dict[Any, List[int]]
        self._runs = []  # type: List[int]

    def see(self, key: Any, time_ns: int, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Take in one layer of the run that is going on.

        Args:
            key: what tells it from the others; one that comes again in a run is added up.
            time_ns: how long it took.
            facts: gives, once for each layer, ``name``, ``operator`` and ``unit``, and whatever
                else the mapper wants to know of it.
        """
        if key not in self._facts:
            self._facts[key] = facts()
        self._now[key] = self._now.get(key, 0) + int(time_ns)

    def end_run(self) -> None:
        """Take note that one inference is over."""
        for key, time_ns in self._now.items():
            self._samples.setdefault(key, []).append(time_ns)
        self._runs.append(sum(self._now.values()))
        self._now = {}

    def as_json(self) -> Mapping[str, Any]:
        """Return plain values: the layers in their order, each with its median."""
        if not self._samples:
            raise RunFailedError("the engine told the time of no layer")
        rows = [
            dict(self._facts[key], time_ns=median(samples))
            for key, samples in self._samples.items()
        ]
        return {
            "layers": rows,
            "runs": len(self._runs),
            "run_ns": median(self._runs),
            "fastest_run_ns": min(self._runs),
            "method": self.method,
        }


def median(samples: List[int]) -> int:
    """Return the middle one; of an even number, the mean of the two in the middle."""
    ordered = sorted(samples)
    half = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) // 2


def profile(
    session: Any, inputs: Mapping[str, Any], plan: Mapping[str, Any], output: str
) -> Dict[str, str]:
    """Time the model as it is, then each of its layers; return the files that tell of it.

    Args:
        session: an engine's.
        inputs: one prepared frame.
        plan: as for the kind ``time``; as many inferences are profiled as it has runs at least.
        output: the job's folder.
    """
    if not hasattr(session, "profile"):
        raise RunFailedError("this engine's runner cannot tell the time of its layers")
    folder = os.path.join(output, _SCRATCH)
    os.mkdir(folder)
    warmup = dict(plan, min_runs=plan["warmup_runs"], min_seconds=plan["warmup_seconds"])
    layers = Layers()
    try:
        timed(lambda: session.run(inputs), warmup, "warmup")
        model_ns = timed(lambda: session.run(inputs), plan, "model").samples_ns
        session.profile(inputs, max(1, int(plan["min_runs"])), layers, folder)
    except RunFailedError:
        raise
    except Exception as error:
        raise RunFailedError("profiling the layers failed: %s" % in_words(error)) from error
    found = dict(layers.as_json(), model_ns=median(model_ns), fastest_model_ns=min(model_ns))
    kept = _kept(layers.files, folder)
    path = os.path.join(folder, FILE)
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(found, stream)
    return dict(kept, **{FILE: path})


def _kept(files: Mapping[str, str], folder: str) -> Dict[str, str]:
    """Leave nothing in the folder but what is to be handed over: a board's disk is small."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if path in files.values():
            continue
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
    return dict(files)
