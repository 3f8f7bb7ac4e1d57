"""Entry of the command line."""

import signal
import sys
from types import FrameType

_INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit with its code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # One that was ignored for us (nohup) stays so.
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _stop)
    try:
        from edgekit.cli.main import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        # While modules are loaded, or a second time while the first is being told.
        sys.stderr.write("interrupted\n")
        code = _INTERRUPTED
    sys.exit(code)


def _stop(number: int, _frame: FrameType | None) -> None:
    """Leave by way of every ``finally``: what was started here must not outlive us."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
