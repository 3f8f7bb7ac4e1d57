"""Plays a transcript as the program that it was taken from, with its delays and its end.

A transcript begins with remarks on where it is from: lines that begin with ``# `` before the
first other line; what follows is printed as it stands. Between stand: ``@sleep SECONDS``,
``@exit STATUS``, ``@hang``, ``@vanish`` (the unit leaves sysfs: $PLAYED_UNIT is removed) and
``@appear`` ($PLAYED_DISK is renamed to what it is without its last suffix). What the program was
called with is added to $PLAYED_CALLS.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

PROGRAM = """#!{python} -I
import runpy, sys
sys.argv[1:1] = [{transcript!r}]
runpy.run_path({player!r}, run_name="__main__")
"""


def play_as(program: Path, transcript: Path) -> None:
    """Make ``program`` play a transcript; of a folder, the one named by its first argument."""
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(
        PROGRAM.format(python=sys.executable, transcript=str(transcript), player=__file__),
        encoding="utf-8",
    )
    program.chmod(0o755)


def remarks_of(text: str) -> list[str]:
    """Return the lines at its beginning that say where it is from."""
    lines = text.splitlines()
    end = next((i for i, line in enumerate(lines) if not line.startswith("# ")), len(lines))
    return lines[:end]


def _play(transcript: Path) -> None:
    text = transcript.read_text(encoding="utf-8")
    for line in text.splitlines()[len(remarks_of(text)) :]:
        word, _, rest = line.partition(" ")
        if word == "@sleep":
            time.sleep(float(rest))
        elif word == "@exit":
            sys.exit(int(rest))
        elif word == "@hang":
            time.sleep(600)
        elif word == "@vanish":
            shutil.rmtree(os.environ["PLAYED_UNIT"])
        elif word == "@appear":
            waiting = Path(os.environ["PLAYED_DISK"])
            waiting.rename(waiting.with_suffix(""))
        else:
            sys.stdout.write(line + "\r\n")
            sys.stdout.flush()


def main() -> None:
    transcript, *arguments = sys.argv[1:]
    if "PLAYED_CALLS" in os.environ:
        with Path(os.environ["PLAYED_CALLS"]).open("a", encoding="utf-8") as calls:
            calls.write(json.dumps(arguments) + "\n")
    path = Path(transcript)
    _play(path / f"{arguments[0]}.txt" if path.is_dir() else path)


if __name__ == "__main__":
    main()
