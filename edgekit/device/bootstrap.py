"""From a bare transport to an agent that answers: one command, and an upload at most once.

The command is one line of POSIX shell. It starts the agent if the device has this very one;
else it asks for it with a greeting of its own (``need <size>``), takes it from its standard
input, puts it in place by rename, and starts it.
"""

from typing import Final

from device_agent.protocol import READY, FrameReader, ProtocolError, StreamEndedError
from edgekit.core.contracts import AgentStream, Transport
from edgekit.core.errors import (
    AgentError,
    ConnectionLostError,
    DeviceError,
    DiskFullError,
    NoPythonError,
    UnreachableError,
)
from edgekit.device.agent_pack import AgentPack, pack_agent

_PYTHONS: Final = (
    '"$EDGEKIT_DEVICE_PYTHON" python3 '
    "python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 python3.7 python3.6 "
    "/usr/bin/python3 /usr/local/bin/python3 /opt/bin/python3"
)
_NO_PYTHON_HINT: Final = (
    "install Python 3.6 or newer on the device, such as with: sudo apt-get install python3"
)

# One line, no single quote, no '!': every login shell passes it on unchanged.
_SCRIPT: Final = (
    "umask 022; r=${EDGEKIT_DEVICE_ROOT:-$HOME/.edgekit}; a=$r/agent/agent-%(sha)s.pyz; t=$a.$$; "
    'say() { printf "\\000\\001edgekit\\001 %%s\\n" "$*"; }; '
    "p=; for c in %(pythons)s; do "
    'if [ -n "$c" ] && command -v "$c" >/dev/null 2>&1; then p=$c; break; fi; done; '
    'if [ -z "$p" ]; then say fail no-python; exit 97; fi; '
    'if %(keep)s && [ -s "$a" ]; then :; else '
    'if mkdir -p "$r/agent" 2>/dev/null && : 2>/dev/null >"$t"; then :; else '
    "say fail no-folder $r; exit 96; fi; "
    "say need %(size)d; "
    'head -c %(size)d >"$t" 2>/dev/null; '
    'if [ "$(wc -c <"$t")" -eq %(size)d ] && { sync "$t" 2>/dev/null || sync; } && '
    'mv -f "$t" "$a"; then :; else rm -f "$t"; say fail no-space $r; exit 96; fi; fi; '
    'exec "$p" -I -S -B "$a" "$r"'
)


def bootstrap_command(pack: AgentPack, *, fresh: bool = False) -> tuple[str, ...]:
    """Return the command that brings up the agent.

    Args:
        pack: the agent.
        fresh: send it even if the device has a file of its name.
    """
    fields = {
        "sha": pack.sha256,
        "size": pack.size_bytes,
        "pythons": _PYTHONS,
        "keep": "false" if fresh else "true",
    }
    return ("sh", "-c", _SCRIPT % fields)


def start_agent(transport: Transport) -> tuple[AgentStream, FrameReader]:
    """Bring up the agent on a device and return its stream, past the greeting.

    A file of the agent's name that does not start (a power cut may leave one) is replaced once.

    Raises:
        NoPythonError: nothing there can run it.
        DiskFullError: there is no room for it.
        DeviceError: it did not come up otherwise; ``args`` hold what the device printed.
    """
    pack = pack_agent()
    try:
        return _start(transport, pack, fresh=False)
    except (NoPythonError, DiskFullError, UnreachableError):
        raise
    except (AgentError, ConnectionLostError):
        return _start(transport, pack, fresh=True)


def _start(
    transport: Transport, pack: AgentPack, *, fresh: bool
) -> tuple[AgentStream, FrameReader]:
    stream = transport.open(bootstrap_command(pack, fresh=fresh))
    try:
        reader = FrameReader(stream.read)
        words = reader.greeting()
        if words == f"need {pack.size_bytes}":
            stream.write(pack.content())
            words = reader.greeting()
        _check_ready(transport.name, words)
    except StreamEndedError as error:
        seen = error.args[1] if len(error.args) > 1 else b""
        status = stream.close()
        raise _no_greeting(transport.name, status, seen, stream.diagnostics()) from error
    except ProtocolError as error:
        stream.close()
        raise AgentError(f"{transport.name}: {error}", code="protocol") from error
    except BaseException:
        stream.close()
        raise
    return stream, reader


def _check_ready(name: str, words: str) -> None:
    if words != READY:
        raise _refusal(name, words)


def _refusal(name: str, words: str) -> DeviceError:
    match words.split():
        case ["fail", "no-python", *_]:
            return NoPythonError(f"{name} has no Python 3", hint=_NO_PYTHON_HINT)
        case ["fail", "old-python", version]:
            return NoPythonError(
                f"{name} has Python {version}, which is too old", hint=_NO_PYTHON_HINT
            )
        case ["fail", "no-space", *folder]:
            return DiskFullError(
                f"{name} has no room for the agent in {' '.join(folder)}",
                hint="free some space on the device",
            )
        case ["fail", "no-folder", *folder]:
            return DeviceError(
                f"{name}: cannot write to {' '.join(folder)}",
                hint="set EDGEKIT_DEVICE_ROOT on the device to a folder this user may write to",
            )
        case _:
            return AgentError(f"{name} greeted with {words!r}", code="protocol")


def _no_greeting(name: str, status: int | None, seen: bytes, diagnostics: str) -> DeviceError:
    printed = (seen.decode(errors="replace") + diagnostics).strip().splitlines()
    last = f": {printed[-1].strip()}" if printed else ""
    ended = f"ended with status {status}" if status is not None else "ended"
    return AgentError(
        f"the agent on {name} {ended} before it answered{last}",
        code="no_greeting",
        hint=f"see that the account may run commands: ssh {name} true",
    )
