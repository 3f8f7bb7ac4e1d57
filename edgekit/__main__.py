"""Entry of the command line."""

import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        from edgekit.cli.main import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        # While modules are loaded, or a second time while the first is being told.
        sys.stderr.write("interrupted\n")
        code = _INTERRUPTED
    _forget_interrupts()
    sys.exit(code)


def _forget_interrupts() -> None:
    """Let ``python -m edgekit`` end with its exit code after an interrupt that was caught.

    CPython notes a KeyboardInterrupt that leaves code given to ``exec`` as text (which is how
    ``dataclasses`` makes methods, so a module that is loading will do) and, caught or not, kills
    the process with SIGINT at its end. Only the next such ``exec`` takes the note back
    (``run_eval_code_obj`` in CPython's Python/pythonrun.c).
    """
    exec("")  # noqa: S102 - nothing in it


if __name__ == "__main__":
    main()
