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
    sys.exit(code)


if __name__ == "__main__":
    main()
