"""The agent on this machine: size of its file, time to its first answer, resident memory.

The first answer is timed from the start of the command that brings the agent up to the answer
to ``hello``, the agent's file being there: what every session but a device's first one costs.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from edgekit.device.address import LocalAddress
from edgekit.device.agent_pack import pack_agent
from edgekit.device.client import AgentClient
from edgekit.device.local import LocalTransport

ROUNDS = 15
SIZE_GOAL_KIB = 64
ANSWER_GOAL_MS = 150
MEMORY_GOAL_MB = 20


def session(root: Path) -> tuple[float, float]:
    """Start an agent and ask it once; return milliseconds and megabytes (peak)."""
    transport = LocalTransport(LocalAddress(root))
    before = children()
    began_ns = time.monotonic_ns()
    client = AgentClient.start(transport)
    client.request("hello")
    answered_ns = time.monotonic_ns()
    (agent,) = children() - before
    peak_mb = peak_bytes(agent) / 1e6
    client.close()
    transport.close()
    return (answered_ns - began_ns) / 1e6, peak_mb


def children() -> set[int]:
    """Return the processes that this one started and that still run."""
    thread = os.getpid()
    return set(map(int, Path(f"/proc/{thread}/task/{thread}/children").read_text().split()))


def peak_bytes(process: int) -> int:
    """Return the largest resident set that a process had."""
    status = Path(f"/proc/{process}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Measure and print the three figures."""
    size_kib = pack_agent().size_bytes / 1024
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as folder:
        session(Path(folder))
        sessions = [session(Path(folder)) for _ in range(ROUNDS)]
    answers_ms = [answer_ms for answer_ms, _ in sessions]
    answer_ms = statistics.median(answers_ms)
    memory_mb = max(memory_mb for _, memory_mb in sessions)
    for figure in (
        {
            "figure": "agent, packed, KiB",
            "value": size_kib,
            "goal": f"at most {SIZE_GOAL_KIB}",
            "ok": size_kib <= SIZE_GOAL_KIB,
        },
        {
            "figure": "agent, first answer on local, ms",
            "value": answer_ms,
            "goal": f"at most {ANSWER_GOAL_MS}",
            "ok": answer_ms <= ANSWER_GOAL_MS,
            "note": f"median of {ROUNDS}, from {min(answers_ms):.0f} to {max(answers_ms):.0f}, "
            f"Python {sys.version.split()[0]}",
        },
        {
            "figure": "agent, peak resident memory, MB",
            "value": memory_mb,
            "goal": f"at most {MEMORY_GOAL_MB}",
            "ok": memory_mb <= MEMORY_GOAL_MB,
        },
    ):
        print(json.dumps(figure))


if __name__ == "__main__":
    main()
