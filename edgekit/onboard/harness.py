"""The measuring frame that every engine's runner stands in.

A runner is a process of its own on the board: it loads one model, infers every frame once
and keeps the answers, for kind ``infer`` the outputs too, then for kind ``time`` times the model
alone and the whole way of a frame, and for kind ``profile`` each of its layers. It reads one job,
prints progress as JSON lines, and leaves ``result.json``.

Python 3.6 and NumPy; nothing else. No ``from __future__ import annotations``: it came with 3.7.
"""

import contextlib
import json
import os
import platform
import re
import signal
import sys
import traceback
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from edgekit.onboard import native
from edgekit.onboard.arrays import Array, Quantised
from edgekit.onboard.cores import memory_peak_bytes, usable_cores, use_cores
from edgekit.onboard.faults import RunFailedError, in_words
from edgekit.onboard.job_files import Frame, link_or_copy, load_frame, write_json
from edgekit.onboard.pipeline import Outputs, make_postprocess, make_preprocess
from edgekit.onboard.profiling import profile
from edgekit.onboard.timing import Progress, Timed, clock_ns, timed

_RESULT = "result.json"
# What is a plain file name to agent and host too.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


def main(session_type: Callable[..., Any], argv: Optional[Sequence[str]] = None) -> int:
    """Run the job named on the command line.

    Args:
        session_type: the engine's session: ``session_type(folder, job, precision, knobs)``
            with ``run(inputs) -> outputs``, both dicts of name to array in the model's own
            names, and ``versions() -> dict`` of the software that ran. Inputs are ``float32`` in
            the model's own shape but for those that its attribute ``input_forms`` names
            (``Dict[str, Form]``); an output may be :class:`~edgekit.onboard.arrays.Quantised`.
            An attribute ``made`` (``Dict[str, str]``, file name to path) names what it made while
            loading that identical devices can take up: such a file is handed to the host, and
            may stand under its name in the folder of a later load. The name says all that decides
            whether the file fits; it is told as long as the file does not stand in the folder.
        argv: command line without the program's name: the path of ``job.json``.

    Returns:
        Exit status: 0 if every inference succeeded, 1 otherwise, 2 for a wrong call.
    """
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1:
        sys.stderr.write("usage: runner.pyz JOB.json\n")
        return 2
    # Whoever started us may have ignored it; ending on it needs no words.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with open(arguments[0], encoding="utf-8") as stream:
            job = json.load(stream)
        result = _Run(session_type, job).result()
        write_json(os.path.join(job["output"], _RESULT), result)
    except KeyboardInterrupt:
        return 130
    except RunFailedError as error:
        if error.__cause__ is not None:
            traceback.print_exception(
                type(error.__cause__), error.__cause__, error.__cause__.__traceback__
            )
        sys.stderr.write("%s\n" % error)
        return 1
    except Exception as error:  # noqa: BLE001 - the process border: a fault becomes one clear line
        traceback.print_exc()
        sys.stderr.write("the runner failed: %s\n" % in_words(error))
        return 1
    return 0


class _Run:
    """One job, from loading to the last timed sample."""

    def __init__(self, session_type: Callable[..., Any], job: Mapping[str, Any]) -> None:
        self._job = job
        self._output_folder = job["output"]
        description = job["job"]
        # Before any step is made: a step keeps to what was there when it was.
        self._steps = _take_up_native(os.path.join(job["folder"], native.FILE_NAME))
        self._specs = description["outputs"]
        self._postprocess = make_postprocess(
            description["postprocess"], job.get("postprocess_parameters")
        )
        # A step that cannot be made is told before a model is loaded.
        make_preprocess(description["preprocess"])
        if job.get("kind") == "camera":
            from edgekit.onboard.camera.run import check_camera

            check_camera(job["pipeline"])
        knobs = dict(job.get("knobs") or {})
        cores = str(knobs.get("affinity", ""))
        if cores:
            use_cores(cores)
        knobs["threads"] = int(knobs.get("threads") or usable_cores())
        self._session_type = session_type
        started = clock_ns()
        self._session = self._load(job, knobs)
        self._load_ns = clock_ns() - started
        self._threads = knobs["threads"]
        forms = getattr(self._session, "input_forms", None)
        self._preprocess = make_preprocess(description["preprocess"], forms)

    def _load(self, job: Mapping[str, Any], knobs: Mapping[str, Any]) -> Any:
        with _own_cores(self._job):
            try:
                return self._session_type(job["folder"], job["job"], job["precision"], knobs)
            except Exception as error:
                raise RunFailedError(
                    "loading the %s %s model failed: %s"
                    % (self._job.get("engine", ""), job["precision"], in_words(error))
                ) from error

    def result(self) -> Dict[str, Any]:
        """Do what the job asks; return the plain values of ``result.json``."""
        if self._job["kind"] == "camera":
            return self._camera()
        frames = [load_frame(path) for path in self._job["frames"]]
        if not frames:
            raise RunFailedError("the job names no frames")
        outputs, answers = self._infer(frames)
        timings = self._time(frames) if self._job["kind"] == "time" else {}
        made = dict(getattr(self._session, "made", {}))
        if self._job["kind"] == "profile":
            inputs = self._preprocess(frames[0])
            made.update(profile(self._session, inputs, self._job["plan"], self._output_folder))
        return self._told(
            model_ns=timings["model"].samples_ns if "model" in timings else [],
            end_to_end_ns=timings["end_to_end"].samples_ns if "end_to_end" in timings else [],
            spans_ns={name: each.span_ns for name, each in timings.items()},
            outputs=outputs,
            answers=answers,
            made=self._hand_over(made),
        )

    def _told(self, **found: Any) -> Dict[str, Any]:
        """What every kind of job tells, and what this one found."""
        versions = {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "steps": self._steps,
        }
        versions.update(self._session.versions())
        told = {"model_ns": [], "end_to_end_ns": [], "spans_ns": {}}  # type: Dict[str, Any]
        told.update(outputs=[], answers=[], made=[])
        told.update(
            load_ns=self._load_ns,
            memory_peak_bytes=memory_peak_bytes(),
            threads=self._threads,
            versions=versions,
        )
        told.update(found)
        return told

    def _camera(self) -> Dict[str, Any]:
        """Run a camera's pipeline; its record stands in files of its own."""
        from edgekit.onboard.camera.job import run_job, variant_of

        first = variant_of(self._job, self._session, self._preprocess, self._postprocess)
        return self._told(camera=run_job(self._job, first, self._load, self._threads))

    def _hand_over(self, made: Mapping[str, str]) -> List[str]:
        """Put what the session made where the host can fetch it; return the names."""
        for name, path in made.items():
            place = os.path.join(self._output_folder, name)
            if not _NAME.match(name) or name == _RESULT or os.path.lexists(place):
                raise RunFailedError("a file that the session made cannot be named %r" % name)
            try:
                link_or_copy(path, place)
            except OSError as error:
                raise RunFailedError("cannot hand over %s: %s" % (path, error)) from error
        return sorted(made)

    def _infer(self, frames: Sequence[Frame]) -> Tuple[List[Dict[str, Any]], List[Any]]:
        """Infer every frame once; keep the answers, and for ``infer`` each output as a file."""
        kept = self._specs if self._job["kind"] == "infer" else []
        progress = Progress("infer" if kept else "evaluate", len(frames))
        records, answers = [], []
        for index, frame in enumerate(frames):
            try:
                outputs = self._checked(self._session.run(self._preprocess(frame)))
                answers.append(self._postprocess(outputs, _shape_of(frame)))
            except RunFailedError:
                raise
            except Exception as error:
                raise RunFailedError(
                    "inference on frame %d failed: %s" % (index, in_words(error))
                ) from error
            for number, spec in enumerate(kept):
                records.append(self._keep(index, number, spec["name"], outputs[spec["name"]]))
            progress.report(index + 1, clock_ns())
        return records, answers

    def _checked(self, outputs: Outputs) -> Outputs:
        for spec in self._specs:
            name, shape = spec["name"], tuple(spec["shape"])
            if name not in outputs:
                raise RunFailedError("the engine gave no output named %s" % name)
            if outputs[name].shape != shape:
                raise RunFailedError(
                    "output %s has shape %s, the model says %s"
                    % (name, list(outputs[name].shape), list(shape))
                )
        return outputs

    def _keep(
        self, frame: int, number: int, name: str, value: Union[Array, Quantised]
    ) -> Dict[str, Any]:
        array = value.to_float() if isinstance(value, Quantised) else value
        path = "out-%d-%d.npy" % (frame, number)
        np.save(os.path.join(self._output_folder, path), array)
        record = {
            "frame": frame,
            "name": name,
            "dtype": str(array.dtype),
            "shape": list(array.shape),
            "path": path,
        }
        if array.dtype.kind == "f":
            wrong = int(array.size - np.count_nonzero(np.isfinite(array)))
            if wrong:
                record["non_finite"] = wrong
                sys.stderr.write(
                    "warning: output %s of frame %d has %d values that are NaN or infinite\n"
                    % (name, frame, wrong)
                )
        return record

    def _time(self, frames: Sequence[Frame]) -> Dict[str, Timed]:
        plan = self._job["plan"]
        run, before, after = self._session.run, self._preprocess, self._postprocess
        # One prepared input: the engine's time alone, without our loop's own work.
        inputs = before(frames[0])
        warmup = dict(plan, min_runs=plan["warmup_runs"], min_seconds=plan["warmup_seconds"])
        ring = [(frame, _shape_of(frame)) for frame in frames]
        position = [0]

        def model() -> None:
            run(inputs)

        def end_to_end() -> None:
            frame, shape = ring[position[0] % len(ring)]
            position[0] += 1
            after(run(before(frame)), shape)

        try:
            timed(model, warmup, "warmup")
            timings = {"model": timed(model, plan, "model")}
            if plan.get("end_to_end", True):
                timed(end_to_end, dict(warmup, min_runs=1, min_seconds=0), "warmup")
                timings["end_to_end"] = timed(end_to_end, plan, "end_to_end")
        except Exception as error:
            raise RunFailedError(
                "inference failed while it was timed: %s" % in_words(error)
            ) from error
        return timings


@contextlib.contextmanager
def _own_cores(job: Mapping[str, Any]) -> Iterator[None]:
    """Threads that an engine starts meanwhile stay on the cores of a pipeline's inference."""
    cores = str(job.get("pipeline", {}).get("placement", {}).get("inference", ""))
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    use_cores(cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _take_up_native(path: str) -> str:
    """Let the steps be native if they can; the answer says what they are."""
    if not os.path.exists(path):
        native.put_down()
        return "numpy"
    hindered = native.take_up(path)
    if hindered:
        sys.stderr.write("warning: the steps are NumPy's, and slower: %s\n" % hindered)
    return "numpy" if hindered else "native"


def _shape_of(frame: Frame) -> Tuple[int, ...]:
    return frame.shape if isinstance(frame, np.ndarray) else ()
