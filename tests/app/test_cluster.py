"""``--workers dask://HOST:PORT``: what is meant, and what is not."""

import importlib.metadata
import socket
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from edgekit.app.cluster import scheduler_address, scheduler_command, worker_command
from edgekit.core.errors import EngineError, UsageError
from edgekit.engines.tvm import tune_kernel
from edgekit.engines.tvm.tune_compilers import ClusterError, Compilers


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("dask://10.0.0.5:8786", "tcp://10.0.0.5:8786"),
        ("dask://build-1.example.org:1/", "tcp://build-1.example.org:1"),
        (" dask://[fe80::1]:8786", "tcp://[fe80::1]:8786"),
    ],
)
def test_address(text, address):
    assert scheduler_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.5:8786",
        "ray://10.0.0.5:8786",
        "tcp://10.0.0.5:8786",
        "dask://10.0.0.5",
        "dask://:8786",
        "dask://a:0",
        "dask://a:65536",
        "dask://a b:1",
        "",
    ],
)
def test_address_of_something_else_is_refused_with_what_is_possible(text):
    with pytest.raises(UsageError) as caught:
        scheduler_address(text)
    assert repr(text) in str(caught.value)
    assert "dask://HOST:PORT" in caught.value.hint


@pytest.mark.parametrize("scheme", ["", "dask://"])
def test_worker_for_a_scheduler_that_is_not_there_is_refused(scheme):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, and nobody listens
        port = held.getsockname()[1]
        with pytest.raises(EngineError, match=f"answers at tcp://127.0.0.1:{port}") as caught:
            worker_command(f"{scheme}127.0.0.1:{port}", 1)
    assert "edgekit cluster scheduler" in caught.value.hint


def test_scheduler_where_nobody_can_listen_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        # The second is an address for documents, which no machine has (RFC 5737).
        for host, words in (("127.0.0.1", "already in use"), ("192.0.2.1", "Cannot assign")):
            with pytest.raises(UsageError, match=f"port {port} of {host}.*{words}") as caught:
                scheduler_command(host, port)
            assert "--port" in caught.value.hint


def test_addresses_of_ipv6_are_in_brackets_and_none_is_for_pages(monkeypatch):
    toolbox = SimpleNamespace(python="python")
    monkeypatch.setattr("edgekit.toolbox.environments.environment", lambda *_, **__: toolbox)
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        for command in (
            worker_command(f"[::1]:{port}", 1),
            scheduler_command("::1", 0),
            scheduler_command("[::1]", 0),
        ):
            said = command.arguments
            assert said[said.index("--host") + 1] == "[::1]"
            # Dask takes no IPv6 there.
            assert said[said.index("--dashboard-address") + 1] == "127.0.0.1:0"


class KilledWorker(Exception):  # noqa: N818 - distributed calls it so
    """What distributed says when one worker after the other died of a task."""


def broken(error=None):
    """Return what fails every task in one way."""

    def submit(*_arguments):
        future = Future()
        if error is None:
            future.cancel()
            future.set_running_or_notify_cancel()
        else:
            future.set_exception(error)
        return future

    return submit


KERNEL = SimpleNamespace(
    tvm_version=lambda: "1", as_text=str, compile_kernel=lambda *_: (b"", "unused")
)


def test_candidate_that_kills_its_workers_is_a_failed_candidate():
    compilers = Compilers(KERNEL, broken(KilledWorker("four of them")), "tcp://a:1")
    assert compilers.compile("module", "target") == (None, "every worker that compiled it died")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("TVM 0.1 is here,\nnot 0.27"), "TVM 0.1 is here,; not 0.27"),
        (None, "the scheduler went away with the work"),
        (TimeoutError(), "no answer within 900 s"),
        (OSError(), "OSError"),
    ],
)
def test_lost_cluster_is_no_fault_of_the_candidate(error, words):
    with pytest.raises(ClusterError) as caught:
        Compilers(KERNEL, broken(error), "tcp://a:1").compile("module", "target")
    assert str(caught.value) == f"the Dask cluster at tcp://a:1 cannot be used: {words}"
    assert "goes on from here" in caught.value.hint


def test_another_tvm_compiles_nothing(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: "0.1")
    with pytest.raises(RuntimeError, match=r"TVM 0\.1 is here, not 0\.27"):
        tune_kernel.compile_kernel("", "", "0.27")


def test_no_tvm_is_no_version(monkeypatch):
    def missing(_name):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert tune_kernel.tvm_version() == ""
