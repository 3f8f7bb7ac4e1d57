"""How a run that cannot go on says so."""


class RunFailedError(Exception):
    """The run cannot go on; the message is the process's last line on standard error."""


def in_words(error: BaseException) -> str:
    """The error's kind and the first line of what it says."""
    first = str(error).strip().splitlines()
    return "%s: %s" % (type(error).__name__, first[0]) if first else type(error).__name__
