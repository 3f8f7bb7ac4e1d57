"""What a process that is forked off the agent leaves behind."""

import os


def close_all_but(kept: "tuple[int, ...]") -> None:
    """Close every descriptor but these; the standard streams lead nowhere.

    What a forked process kept open would outlive the agent: a lock, or the link to the host.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number > 2 and number not in kept:  # noqa: PLR2004 - past the standard streams
            try:
                os.close(number)
            except OSError:
                continue  # the folder's own, closed by now
