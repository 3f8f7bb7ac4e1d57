"""Dask clusters that compile candidates of tuning: addresses, and what starts their processes."""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edgekit.catalog.cache import cache_root
from edgekit.core.errors import EngineError, UsageError
from edgekit.core.events import EventSink, ignore

_ADDRESS: Final = re.compile(r"dask://(?P<host>[\w.-]+|\[[0-9a-fA-F:.]+\]):(?P<port>\d{1,5})/?")
_MOST_PORT: Final = 65535
# Scheduler and workers that never find each other shall not wait for ever.
_DEATH_TIMEOUT_S: Final = 60
_CONNECT_S: Final = 10.0


@dataclass(frozen=True)
class Command:
    """A process to start in the foreground: it serves until it is ended."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]


def scheduler_address(text: str) -> str:
    """Return ``tcp://HOST:PORT`` of ``dask://HOST:PORT``.

    Raises:
        UsageError: it is of another scheme, or no address.
    """
    found = _ADDRESS.fullmatch(text.strip())
    if found is None or not 0 < int(found["port"]) <= _MOST_PORT:
        raise UsageError(
            f"{text!r} names no workers that edgekit knows",
            hint="dask://HOST:PORT is a Dask scheduler's address, and there are no others; "
            "edgekit cluster scheduler starts one",
        )
    return f"tcp://{found['host']}:{found['port']}"


def scheduler_command(host: str, port: int, *, emit: EventSink = ignore) -> Command:
    """Return what starts a scheduler.

    Args:
        host: address to listen on. Whoever reaches it can run programs on every worker.
        port: 0 for any that is free.
        emit: told of the toolbox if it is to be made.

    Raises:
        UsageError: nobody can listen there: the port is taken, or the address is another machine's.
        EngineError: the toolbox is not to be had.
    """
    address = host.strip("[]")
    _refuse_taken(address, port)
    options = ["--host", _bracketed(address), "--port", str(port)]
    return _command("dask_scheduler", options, emit)


def worker_command(scheduler: str, processes: int, *, emit: EventSink = ignore) -> Command:
    """Return what starts workers: one candidate at a time for each process.

    They listen on the address alone from which this machine reaches the scheduler.

    Args:
        scheduler: its address, ``HOST:PORT`` or ``dask://HOST:PORT``.
        processes: how many; 0 for one for each core.
        emit: told of the toolbox if it is to be made.

    Raises:
        UsageError: no address.
        EngineError: nothing answers there, or the toolbox is not to be had.
    """
    address = scheduler_address(scheduler if "://" in scheduler else f"dask://{scheduler}")
    own = _own_address(address)
    count = str(processes or os.cpu_count() or 1)
    # Processes, each under a nanny that starts it anew: a candidate may crash the compiler.
    options = ["--nworkers", count, "--nthreads", "1", "--death-timeout", str(_DEATH_TIMEOUT_S)]
    return _command("dask_worker", [address, "--host", _bracketed(own), *options], emit)


def _refuse_taken(host: str, port: int) -> None:
    """Say in a line what Dask would bury in a traceback."""
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: a port whose last connections are just closing is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise UsageError(
            f"no scheduler can listen at port {port} of {host}: {error.strerror}",
            hint="--host is an address of this machine; --port names another port, 0 any that is "
            "free",
        ) from error


def _own_address(scheduler: str) -> str:
    """Return this machine's address as the scheduler sees it, once something answers there."""
    host, _, port = scheduler.partition("://")[2].rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S) as connection:
            return str(connection.getsockname()[0])
    except OSError as error:
        raise EngineError(
            f"no Dask scheduler answers at {scheduler}: {error}",
            hint="start it first, with an address that this machine reaches: "
            "edgekit cluster scheduler --host ADDRESS",
        ) from error


def _command(module: str, arguments: list[str], emit: EventSink) -> Command:
    from edgekit.engines.tvm.tuning import TOOLBOX
    from edgekit.toolbox.environments import environment

    python = environment(TOOLBOX, emit=emit).python
    # The processes that these start inherit it: no Python's settings but the toolbox's own.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ours = {
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONPYCACHEPREFIX": str(cache_root() / "bytecode"),
    }
    # Even without its pages it serves HTTP, on all addresses and a well-known port if it may.
    # (It cannot read an IPv6 address here.)
    quiet = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")
    command = (str(python), "-m", f"distributed.cli.{module}", *quiet, *arguments)
    return Command(command, {**kept, **ours})


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
