"""A process that compiles candidates, one after the other. Runs in the toolbox of tuning.

    python tune_process.py KERNEL.py

``KERNEL.py`` is ``tune_kernel``. JSON lines on standard input, ``{"module", "target", "tvm"}``, and
one for each on standard output, ``{"object", "error"}`` with the object file in base 64, until the
input ends. An LLVM that crashes on a candidate ends this process and no other.
"""

import base64
import importlib.util
import json
import os
import sys


def main() -> int:
    """Compile what is asked for until the input ends."""
    # LLVM prints: what it says goes to the log.
    say = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    spec = importlib.util.spec_from_file_location("tune_kernel", sys.argv[1])
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{sys.argv[1]} is no Python file")
    kernel = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kernel)
    kernel.warm_up()
    for line in sys.stdin:
        asked = json.loads(line)
        code, error = kernel.compile_kernel(asked["module"], asked["target"], asked["tvm"])
        told = None if code is None else base64.b64encode(code).decode("ascii")
        try:
            say.write(json.dumps({"object": told, "error": error}) + "\n")
            say.flush()
        except BrokenPipeError:
            return 1  # nobody listens any more
    return 0


if __name__ == "__main__":
    sys.exit(main())
