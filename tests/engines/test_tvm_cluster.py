"""Candidates compiled on a real Dask cluster are those that this machine compiles."""

import hashlib
import os
import signal
import socket

import pytest
from dask_cluster import Cluster

from edgekit.app.bundles import Feasible, assemble, feasible
from edgekit.app.cluster import worker_command
from edgekit.app.scopes import scope_of
from edgekit.app.tune import TuneOptions, tune
from edgekit.app.tuned import tuned_engine
from edgekit.app.tuning_worker import start_worker
from edgekit.catalog.cache import cache_root
from edgekit.catalog.targets import load_target
from edgekit.core.candidate import Candidate
from edgekit.core.errors import EngineError
from edgekit.core.events import ignore
from edgekit.engines import load_engine
from edgekit.engines.tvm.tuning import tvm_version
from edgekit.tune.records import RECORDS_FILE, open_records
from edgekit.tune.session import Limits, Measured, Session

pytestmark = [pytest.mark.slow, pytest.mark.toolbox, pytest.mark.network]

TARGET = load_target("local")
TVM = load_engine("tvm")
TRIALS = 16  # 8 for each of two of the five tasks


@pytest.fixture
def cluster(tmp_path):
    folder = tmp_path / "cluster"
    folder.mkdir()
    made = Cluster(folder)
    yield made
    made.close()


class Bench:
    """Times nothing: what a candidate costs follows from every byte of its library."""

    def __init__(self):
        self.digests = []
        self._waiting = []

    def submit(self, candidate):
        digest = hashlib.sha256(candidate.library.read_bytes()).hexdigest()
        self.digests.append(digest)
        cost = 1e-3 + int(digest[:8], 16) * 1e-12
        self._waiting.append(Measured(candidate.number, (cost,), device="bench"))

    def flush(self):
        pass

    def results(self, wait_s):
        del wait_s
        found, self._waiting = self._waiting, []
        return found


def tuned_bundle(model, facts, folder, monkeypatch, scheduler=None):
    """Tune with records and builds of its own; return the bundle's hash and the libraries'."""
    shared = cache_root()
    (folder / "cache").mkdir(parents=True)
    for name in ("toolboxes", "wheels", "bytecode"):
        (shared / name).mkdir(parents=True, exist_ok=True)
        (folder / "cache" / name).symlink_to(shared / name)
    bench = Bench()
    with monkeypatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE_DIR", str(folder / "cache"))
        patch.setenv("EDGEKIT_RECORDS_DIR", str(folder / "records"))
        scratch = folder / "scratch"
        scratch.mkdir()
        with (
            start_worker(
                model, TARGET, scratch, precision="fp32", scheduler=scheduler, emit=ignore
            ) as worker,
            open_records(folder / "records" / RECORDS_FILE) as records,
        ):
            greeting = worker.greeting()
            session = Session(worker, greeting, bench, records, scope_of(TARGET), emit=ignore)
            done = session.run("Tune", Limits(trials=TRIALS))
        assert (done.trials, done.failures) == (TRIALS, 0)
        engine = tuned_engine(TVM, model, "fp32", TARGET, emulated=False, emit=ignore)
        plan = feasible(Candidate("tvm", "fp32", (("threads", 1),)), model, TARGET, facts)
        plan = Feasible(plan.candidate, engine, plan.runtime)
        bundle = assemble(plan, model, TARGET, facts, emit=ignore)
        (library,) = [file for file in bundle.files if file.path == "model.so"]
        assert folder in library.source.parents, "it was not built anew"
        return bundle.identity, bench.digests


def test_cluster_of_two_workers_gives_the_same_kernels_and_the_same_bundle(
    cluster, tiny, here, monkeypatch, tmp_path
):
    local, kernels = tuned_bundle(tiny, here, tmp_path / "local", monkeypatch)
    for _ in range(2):
        cluster.add_worker()
    scheduler = f"tcp://{cluster.address}"
    remote, others = tuned_bundle(tiny, here, tmp_path / "remote", monkeypatch, scheduler)
    assert len(set(kernels)) > TRIALS / 2
    assert others == kernels
    assert remote == local


def test_killed_worker_costs_no_candidate_and_a_lost_cluster_is_a_clear_error(
    cluster, tiny, tmp_path
):
    first, _second = cluster.add_worker(), cluster.add_worker()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    scheduler = f"tcp://{cluster.address}"
    with start_worker(
        tiny, TARGET, scratch, precision="fp32", scheduler=scheduler, emit=ignore
    ) as worker:
        task = worker.greeting().tasks[0].structural_hash
        candidates = worker.propose(task, 12)
        built = [next(candidates)]
        cluster.end(first, signal.SIGKILL)
        built += candidates
        assert [candidate.error for candidate in built] == [""] * 12
        assert all(candidate.library.stat().st_size for candidate in built)
        os.killpg(cluster.scheduler.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="Dask cluster at tcp://127") as caught:
            list(worker.propose(task, 4))
    assert "goes on from here" in caught.value.hint


def test_cluster_without_workers_or_with_another_tvm_is_refused(cluster, tiny, tmp_path):
    def refused(name):
        (tmp_path / name).mkdir()
        with (
            start_worker(
                tiny,
                TARGET,
                tmp_path / name,
                precision="fp32",
                scheduler=f"tcp://{cluster.address}",
                emit=ignore,
            ) as worker,
            pytest.raises(EngineError) as caught,
        ):
            worker.greeting()
        return caught.value

    error = refused("nobody")
    assert "has no workers" in str(error)
    assert f"edgekit cluster worker {cluster.address}" in error.hint
    odd = tmp_path / "odd" / "apache_tvm-0.1.dist-info"
    odd.mkdir(parents=True)
    (odd / "METADATA").write_text("Metadata-Version: 2.1\nName: apache-tvm\nVersion: 0.1\n")
    command = worker_command(cluster.address, 1)
    cluster.add_worker(command.arguments, {**command.environment, "PYTHONPATH": str(odd.parent)})
    error = refused("odd-one")
    assert f"tuning needs TVM {tvm_version()} on all 1 workers" in str(error)
    assert "has 0.1" in str(error)


def test_scheduler_that_is_not_there_is_named(tiny, tmp_path):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, and nobody listens
        port = held.getsockname()[1]
        options = TuneOptions(
            str(tiny.onnx.path), "local", ("local",), workers=f"dask://127.0.0.1:{port}"
        )
        with pytest.raises(EngineError) as caught:
            tune(options)
    assert f"no Dask scheduler answers at tcp://127.0.0.1:{port}" in str(caught.value)
    assert "edgekit cluster scheduler" in caught.value.hint
