"""The host's end of a process that proposes candidates and builds them.

JSON lines both ways; what they say is described at the other end
(``edgekit/engines/tvm/tune_worker.py``). Nothing here knows TVM.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgekit.core.closing import Closing
from edgekit.core.errors import EngineError
from edgekit.tune.record import Record
from edgekit.tune.rows import Workload
from edgekit.tune.tasks import Task

_LAST_BYTES: Final = 2000
_END_S: Final = 5.0

Argument = tuple[int, int, tuple[int, ...]]


@dataclass(frozen=True)
class Candidate:
    """One schedule of one task.

    Attributes:
        library: what was built of it; ``None`` if that failed, and ``error`` says how.
        arguments: code and bits of each argument's DLDataType, and its shape.
    """

    number: int
    structural_hash: str
    trace: str
    library: Path | None
    arguments: tuple[Argument, ...]
    error: str = ""


@dataclass(frozen=True)
class Greeting:
    """What a worker tells first.

    Attributes:
        session: the library through which the board runs what was built.
    """

    tasks: tuple[Task, ...]
    workloads: tuple[Workload, ...]
    tvm: str
    pipeline: str
    session: Path


class Worker(Closing):
    """The process. A context manager; it ends when its input does.

    Args:
        command: starts it.
        log: takes its standard error.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                encoding="utf-8",
                # Ctrl-C is for the host, which ends the worker in good order.
                start_new_session=True,
            )
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError  # both are pipes
        self._ask, self._answers = self._process.stdin, self._process.stdout
        self.exhausted = False

    def greeting(self) -> Greeting:
        """Return what it tells first.

        Raises:
            EngineError: it died or could not begin.
        """
        said = self._hear()
        tvm = str(said["tvm"])
        return Greeting(
            tasks=tuple(
                Task(each["hash"], each["name"], int(each["weight"]), float(each["flops"]))
                for each in said["tasks"]
            ),
            workloads=tuple(
                Workload(tvm, each["hash"], each["workload"]) for each in said["tasks"]
            ),
            tvm=tvm,
            pipeline=str(said["pipeline"]),
            session=Path(said["session"]),
        )

    def know(self, structural_hash: str, trials: Sequence[Record]) -> None:
        """Tell it of earlier trials of a task; they are not proposed again."""
        told = [{"trace": trial.trace, "costs": list(trial.costs)} for trial in trials]
        self._say({"do": "know", "task": structural_hash, "trials": told})

    def suggest(self, traces: Mapping[str, Sequence[str]]) -> tuple[int, int]:
        """Have traces of similar boards proposed first, by the structural hash of their task.

        Returns:
            How many will be, and how many do not apply on this board.
        """
        self._say({"do": "suggest", "traces": {key: list(each) for key, each in traces.items()}})
        said = self._hear()
        return int(said["suggested"]), int(said["skipped"])

    def propose(
        self, structural_hash: str, count: int, ahead: str | None = None
    ) -> Iterator[Candidate]:
        """Yield up to ``count`` candidates as they are built.

        Meanwhile it thinks of candidates for another task, which ``ahead`` names. Afterwards
        :attr:`exhausted` tells whether the task has none left. All must be taken before anything
        else is asked.
        """
        request = {"do": "propose", "task": structural_hash, "count": count, "ahead": ahead}
        self._say(request)
        while "candidate" in (said := self._hear()):
            yield _candidate(said["candidate"])
        self.exhausted = bool(said["exhausted"])

    def measured(self, results: Mapping[int, Sequence[float]]) -> None:
        """Tell it costs by candidates' numbers; none for a candidate that failed."""
        told = [{"id": number, "costs": list(costs) or None} for number, costs in results.items()]
        self._say({"do": "measured", "results": told})

    def close(self) -> None:
        """End it."""
        for stream in (self._ask, self._answers):
            with contextlib.suppress(OSError):  # it died before it read all
                stream.close()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
        finally:
            # A second Ctrl-C comes here too. What compiles for it may take another minute.
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def _say(self, line: Mapping[str, Any]) -> None:
        try:
            self._ask.write(json.dumps(line) + "\n")
            self._ask.flush()
        except OSError as error:
            raise self._died() from error

    def _hear(self) -> Mapping[str, Any]:
        line = self._answers.readline()
        try:
            said = json.loads(line)
        except ValueError as error:
            raise self._died() from error
        if "error" in said:
            log = f"log: {self._log}"
            hint = f"{said['hint']}; {log}" if said.get("hint") else log
            raise EngineError(f"tuning failed: {said['error']}", hint=hint)
        return dict(said)

    def _died(self) -> EngineError:
        self.close()
        words = self._log.read_bytes()[-_LAST_BYTES:].decode(errors="replace").strip()
        last = words.splitlines()[-1] if words else "nothing"
        return EngineError(
            f"the process that builds candidates ended with {self._process.returncode}; "
            f"it last said: {last}",
            hint=f"run the same command again, which goes on from here; log: {self._log}",
        )


def _candidate(said: Mapping[str, Any]) -> Candidate:
    return Candidate(
        number=int(said["id"]),
        structural_hash=str(said["task"]),
        trace=str(said["trace"]),
        library=Path(said["library"]) if said["library"] else None,
        arguments=tuple(
            (int(code), int(bits), tuple(map(int, shape)))
            for code, bits, shape in said["arguments"]
        ),
        error=str(said["error"]),
    )
