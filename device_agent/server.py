"""The agent itself: takes one request after the other and does what the table names."""

import os
import signal
import sys

from device_agent.channel import Channel, HostGoneError, take_streams
from device_agent.layout import Layout, default_root
from device_agent.protocol import ProtocolError, VerbError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Callable, Dict, List, Optional, Tuple, Union

    from device_agent.probe import Roots

    Answer = Dict[str, Any]
    Verb = Callable[["Call"], Answer]


class Call:
    """A request in hand: its arguments, and the way to tell the host how it goes."""

    def __init__(
        self, layout: Layout, channel: Channel, roots: "Roots", request: "Dict[str, Any]"
    ) -> None:
        self.layout = layout
        self.channel = channel
        self.roots = roots
        identity, args = request.get("id"), request.get("args", {})
        if not isinstance(identity, int) or not isinstance(args, dict):
            msg = "a request without an id, or with arguments that are no table"
            raise ProtocolError(msg)
        self.id = identity
        self.verb = str(request.get("verb"))
        self.args = args

    def arg(self, name: str, kind: "Union[type, Tuple[type, ...]]") -> "Any":
        """Return an argument that must be there and of this kind.

        Raises:
            VerbError: it is not.
        """
        value = self.args.get(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise VerbError("bad_request", f"{self.verb}: {name} must be a {_title(kind)}")
        return value

    def event(self, event: "Dict[str, Any]") -> None:
        """Tell the host of progress."""
        self.channel.event(self.id, event)


def _title(kind: "Union[type, Tuple[type, ...]]") -> str:
    return kind.__name__ if isinstance(kind, type) else " or ".join(map(_title, kind))


def _hello(call: Call) -> "Answer":
    from device_agent.probe import facts

    call.layout.make()
    answer: "Answer" = {"facts": facts(call.roots, call.layout.root), "root": call.layout.root}
    if os.path.exists(os.path.join(call.layout.root, "clocks.json")):
        from device_agent.clocks.journal import recover_stale

        answer["clocks_recovered"] = recover_stale(call.layout, call.roots)
    return answer


def _bye(_call: Call) -> "Answer":
    return {}


def _unknown(call: Call) -> "Answer":
    raise VerbError("unknown_verb", f"no verb is named {call.verb!r}")


def _cancel(_call: Call) -> "Answer":
    return {}  # a runner, if there was one, is ended by now: requests are taken in order


def _lazily(module: str, function: str) -> "Verb":
    def verb(call: Call) -> "Answer":
        from importlib import import_module

        done: "Verb" = getattr(import_module("device_agent." + module), function)
        return done(call)

    return verb


VERB_TABLE: "Dict[str, Verb]" = {
    "hello": _hello,
    "missing": _lazily("content", "missing"),
    "put": _lazily("content", "put"),
    "get": _lazily("content", "get"),
    "install": _lazily("bundles", "install"),
    "install_runtime": _lazily("bundles", "install_runtime"),
    "activate": _lazily("generations", "activate"),
    "rollback": _lazily("generations", "rollback"),
    "status": _lazily("generations", "status"),
    "run": _lazily("jobs", "run"),
    "clock": _lazily("watch", "clock"),
    "health": _lazily("watch", "health"),
    "cancel": _cancel,
    "pin_clocks": _lazily("clocks.verbs", "pin"),
    "release_clocks": _lazily("clocks.verbs", "release"),
    "gc": _lazily("collect", "gc"),
    "bye": _bye,
}
"""Everything this agent does. Modules that not every session needs are imported by the verb."""


def serve(layout: Layout, channel: Channel, roots: "Roots") -> int:
    """Answer requests until the host says goodbye or goes away; return an exit status."""
    try:
        channel.greet()
        while True:
            request = channel.request()
            if request is None:
                return 0
            call = Call(layout, channel, roots, request)
            _answer(call)
            if call.verb == "bye":
                return 0
    except HostGoneError:
        return 0
    except ProtocolError as error:
        sys.stderr.write(f"edgekit agent: {error}\n")
        return 2


def _answer(call: Call) -> None:
    try:
        result = VERB_TABLE.get(call.verb, _unknown)(call)
    except VerbError as error:
        call.channel.refuse(call.id, error)
    except OSError as error:
        call.channel.refuse(call.id, _system_error(call, error))
    except (HostGoneError, ProtocolError):
        raise
    except Exception as error:  # noqa: BLE001 - a bug in one verb is an answer, with its place
        import traceback

        traceback.print_exc()
        call.channel.refuse(call.id, VerbError("internal", f"{call.verb}: {error!r}"))
    else:
        call.channel.respond(call.id, result)


def _system_error(call: Call, error: OSError) -> VerbError:
    import errno

    details: "Answer" = {"path": str(error.filename or ""), "errno": error.errno or 0}
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        from device_agent.probe import free_bytes

        details["free_bytes"] = free_bytes(call.layout.root) or 0
        return VerbError("disk_full", f"no space left while writing {error.filename}", details)
    return VerbError("io_error", f"{call.verb}: {error}", details)


def _stop(number: int, _frame: "Optional[FrameType]") -> None:
    # SystemExit runs every `finally`, so a runner is killed and a lock given back.
    sys.exit(128 + number)


def main(arguments: "List[str]") -> int:
    """Run the agent over the standard streams.

    Args:
        arguments: none, or one: the folder to keep everything in.
    """
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _stop)
    os.umask(0o022)
    from device_agent.probe import Roots

    layout = Layout(arguments[0] if arguments else default_root())
    # Tests show the agent another kernel's tree.
    roots = Roots(sys=os.environ.get("EDGEKIT_DEVICE_SYS") or "/sys")
    return serve(layout, take_streams(), roots)
