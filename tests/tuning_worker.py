"""A worker without TVM: candidates are numbered, and a file stands for each library.

    python tuning_worker.py FOLDER [dies | stays-silent]

Traces that begin with ``other`` do not apply here.
Two tasks, ``conv`` with 40 candidates and ``pool`` with 5. Candidate 3 of ``conv`` cannot be built.
"""

import json
import sys
from pathlib import Path

SPACES = {"hash-conv": 40, "hash-pool": 5}


def say(line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main():
    folder, manner = Path(sys.argv[1]), "".join(sys.argv[2:])
    tasks = [
        {"hash": key, "name": key[5:], "weight": 2, "flops": 1e6, "workload": "[]"}
        for key in SPACES
    ]
    if manner == "cannot":
        say({"error": "no C compiler for aarch64 is here", "hint": "install one"})
        return
    session = str(folder / "libsession.so")
    say({"tasks": tasks, "tvm": "0.27.0.post1", "pipeline": "1", "session": session})
    known = {key: set() for key in SPACES}
    first = {key: [] for key in SPACES}
    number = 0
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "know":
            known[asked["task"]] |= {trial["trace"] for trial in asked["trials"]}
        if asked["do"] == "suggest":
            found = [(key, trace) for key, traces in asked["traces"].items() for trace in traces]
            fitting = [(key, trace) for key, trace in found if not trace.startswith("other")]
            for key, trace in fitting:
                first[key].append(trace)
            say({"suggested": len(fitting), "skipped": len(found) - len(fitting)})
        if asked["do"] != "propose":
            continue
        if manner == "dies":
            sys.exit("out of memory")
        task = asked["task"]
        everything = [*first[task], *(f"{task} {n}" for n in range(SPACES[task]))]
        left = [trace for trace in dict.fromkeys(everything) if trace not in known[task]]
        for trace in left[: asked["count"]]:
            known[task].add(trace)
            library = folder / f"{number}.so"
            built = None if trace == "hash-conv 3" else str(library)
            if built:
                library.write_text(trace)
            told = {"id": number, "task": task, "trace": trace, "arguments": [[2, 32, [1, 3]]]}
            error = "" if built else "a loop that cannot be vectorised"
            say({"candidate": {**told, "library": built, "error": error}})
            number += 1
        proposed = min(len(left), asked["count"])
        say({"proposed": proposed, "exhausted": len(left) <= asked["count"]})


if __name__ == "__main__":
    main()
