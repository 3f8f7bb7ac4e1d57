"""The root command: finds verbs by file name, turns errors into messages and exit codes."""

import importlib
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import click

from edgekit import __version__

_COMMANDS = Path(__file__).parent / "commands"
_EXIT_INTERRUPTED = 130
_OF_THE_MACHINE = ("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "ENOTDIR")
_EXIT_USAGE = 2


@cache
def _verbs() -> tuple[str, ...]:
    # Not by glob(): every call of edgekit waits for this.
    stems = (name.removesuffix(".py") for name in os.listdir(_COMMANDS) if name.endswith(".py"))  # noqa: PTH208
    return tuple(sorted(stem.replace("_", "-") for stem in stems if not stem.startswith("_")))


def _file_of(verb: str) -> Path:
    return _COMMANDS / f"{verb.replace('-', '_')}.py"


def _summary(verb: str) -> str:
    """Return what the first line of the verb's file says after its usage, as a sentence."""
    with _file_of(verb).open(encoding="utf-8") as file:
        said = file.readline().partition("``: ")[2]
    said = said.rstrip().removesuffix('"""').replace("``", "")
    return said[:1].upper() + said[1:]


class VerbGroup(click.Group):
    """Finds each verb in a file of its own and imports it when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the files in ``commands/``."""
        del ctx
        return list(_verbs())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's file and return its ``COMMAND``."""
        del ctx
        if cmd_name not in _verbs():
            return None
        module = importlib.import_module(f"edgekit.cli.commands.{_file_of(cmd_name).stem}")
        assert isinstance(module.COMMAND, click.Command)  # noqa: S101 - a fault of ours, not the user's
        return module.COMMAND

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs with the line that each one's file opens with.

        Importing all of them, as click would, takes a quarter of the time of ``--help``.
        """
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(verb, _summary(verb)) for verb in _verbs()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve as click does, and say what an unknown verb probably meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=2, cutoff=0.5)
            if not near or "mean" in error.message:
                raise
            message = f"{error.message} Did you mean {' or '.join(near)}?"
            raise click.UsageError(message, ctx) from error


@click.command(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgekit")
def root() -> None:
    """Put a trained model on an ARM board, measure it there, keep the winner.

    \b
    edgekit deploy shapes --target local
    edgekit deploy yolov5 --target rk3566 --device pi@192.168.1.20
    edgekit deploy ./mine.onnx --target rpi4 --device virtual
    """  # noqa: D301 - click reads the \b
    _end_in_order()


def _end_in_order() -> None:
    """Let SIGTERM and SIGHUP run every ``finally``: what a verb started must not outlive it."""
    import contextlib
    import signal

    for number in (signal.SIGTERM, signal.SIGHUP):
        # One that is ignored (nohup) or handled already stays so; ValueError: not the main thread.
        if signal.getsignal(number) == signal.SIG_DFL:
            with contextlib.suppress(ValueError):
                signal.signal(number, lambda number, _frame: sys.exit(128 + number))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code.

    0 ok, 1 bug, 2 usage, 3 device, 4 engine, 5 goal or gate missed, 6 measurement invalid,
    7 rolled back, 130 interrupted.
    """
    in_json = "--json" in arguments
    try:
        code = root.main(list(arguments), prog_name="edgekit", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        return _report_usage(error, in_json=in_json)
    except (KeyboardInterrupt, click.Abort) as error:
        message = _interrupted(error)
        if in_json:
            _print_json_error("Interrupted", message, None, _EXIT_INTERRUPTED)
        click.echo(message, err=True)
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader went away (`| head`): nothing is wrong, and nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last stop: known errors are shown, others are bugs
        return _report(error, in_json=in_json)
    return code if isinstance(code, int) else 0


def _interrupted(error: BaseException) -> str:
    """Say what becomes of what was done, in the words of who was interrupted if it has any."""
    cause = error.__cause__ if isinstance(error, click.Abort) else error
    said = str(cause) if isinstance(cause, KeyboardInterrupt) else ""
    return said or "interrupted; what was finished is kept for the next call"


def _report_usage(error: click.ClickException, *, in_json: bool) -> int:
    """Say what click objects to as edgekit says everything else."""
    message = error.format_message()
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(message, err=True)
        return _EXIT_USAGE
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "edgekit"
    hint = f"{command} --help shows how to call it"
    if in_json:
        _print_json_error("UsageError", message, hint, _EXIT_USAGE)
    click.echo(f"error: {message}", err=True)
    click.echo(f"hint: {hint}", err=True)
    return _EXIT_USAGE


def _report(error: Exception, *, in_json: bool) -> int:
    from edgekit.core.errors import EdgekitError

    if isinstance(error, OSError):
        error = _machine_error(error)
    if not isinstance(error, EdgekitError):
        return _report_bug(error, in_json=in_json)
    if in_json:
        _print_json_error(type(error).__name__, error.message, error.hint, error.exit_code)
    click.echo(f"error: {error.message}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
    return error.exit_code


def _machine_error(error: OSError) -> Exception:
    """Say of a folder that cannot be written, or of a full disk, what is no bug of edgekit's."""
    import errno

    from edgekit.core.errors import UsageError

    if errno.errorcode.get(error.errno or 0) not in _OF_THE_MACHINE:
        return error
    place = f"{error.filename}: " if error.filename else ""
    return UsageError(
        f"this machine refuses: {place}{error.strerror}",
        hint="edgekit doctor looks at this machine; EDGEKIT_CACHE_DIR and EDGEKIT_RUNS_DIR name "
        "folders on another disk",
    )


def _report_bug(error: Exception, *, in_json: bool) -> int:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="edgekit-bug-", suffix=".log", delete=False
    ) as log:
        log.write(f"edgekit {__version__}\npython {sys.version}\narguments {sys.argv[1:]}\n\n")
        log.write("".join(traceback.format_exception(error)))
    message = f"{type(error).__name__}: {error}"
    if in_json:
        _print_json_error("Bug", message, f"attach {log.name} to a report", 1)
    click.echo(f"error: this is a bug in edgekit: {message}", err=True)
    click.echo(f"hint: attach {log.name} to a report", err=True)
    return 1


def _print_json_error(kind: str, message: str, hint: str | None, code: int) -> None:
    import contextlib
    import json

    fault = {"kind": kind, "message": message, "hint": hint, "exit_code": code}
    # Where nothing can be written is often what is wrong; it stands on stderr too.
    with contextlib.suppress(OSError):
        click.echo(json.dumps({"error": fault}))
