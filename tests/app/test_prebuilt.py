"""What one device made is sent to identical ones: real agents, and a runner that makes a file."""

import hashlib
import json
import platform
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from device_facts import device as facts_of

from edgekit.app.arena import Arena, Limits
from edgekit.app.bundles import Feasible
from edgekit.app.entries import Entry, complete, time_once
from edgekit.app.lanes import Lane
from edgekit.app.memory import Memory, fingerprint
from edgekit.app.prebuilt import Prebuilt, likeness
from edgekit.app.stopwatch import Stopwatch
from edgekit.catalog.cache import cache_root
from edgekit.core.bundle import Bundle, BundleFile, RuntimePack
from edgekit.core.candidate import Candidate, CandidateResult
from edgekit.core.contracts import RuntimeSpec
from edgekit.core.errors import AgentError, ConnectionLostError, RunnerError
from edgekit.core.events import Note
from edgekit.core.measurement import BenchPlan
from edgekit.core.model import FileRef
from edgekit.device import LocalAddress, connect
from edgekit.device.client import AgentClient
from edgekit.device.runs import _Download
from edgekit.toolbox.runner_pack import pack_runner

CANDIDATE = Candidate("tensorrt", "fp16", (("threads", 1),))
PLAN = BenchPlan(warmup_runs=0, warmup_seconds=0, min_runs=2, min_seconds=0, max_seconds=60)
SPEC = {"dtype": "float32", "shape": [1, 2]}
STEP = {"name": "tensor", "parameters": {}}
MODULE = "board,module-8gb"


@dataclass
class Maker:
    """Stands for an engine: all that a runner pack asks of one."""

    name: str = "tensorrt"
    runner_module: str = "tests.app.runner_making"


def content(folder, data, path):
    sha256 = hashlib.sha256(data).hexdigest()
    source = folder / sha256
    source.write_bytes(data)
    return BundleFile(path, sha256, len(data), source)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # This machine is taken for a quiet one: what is disturbed is not remembered.
    monkeypatch.setattr("edgekit.app.entries.disturbance", lambda _latency: None)


@pytest.fixture
def entry(tmp_path):
    """A candidate that the device ends building; an hour is allowed for that."""
    bundle = Bundle(
        name="tiny",
        engine="tensorrt",
        precision="fp16",
        target="local",
        architecture=platform.machine(),
        compatible=(),
        files=(content(tmp_path, b"weights", "model.bin"), pack_runner(Maker())),
        runtime=RuntimePack("none", sys.executable, ()),
        job_json=json.dumps(
            {
                "inputs": [{"name": "x", **SPEC}],
                "outputs": [{"name": "y", **SPEC}],
                "preprocess": STEP,
                "postprocess": STEP,
            }
        ),
        knobs=CANDIDATE.knobs,
    )
    return Entry(CANDIDATE, bundle, 3600.0)


@pytest.fixture
def race(tmp_path, monkeypatch):
    """Begin a race on a board of its own: its agent's folder, its runner's cache, its facts."""
    opened = []
    path = tmp_path / "frame.npz"
    np.savez(path, x=np.ones((1, 2), np.float32))
    data = path.read_bytes()
    frame = FileRef(path, hashlib.sha256(data).hexdigest(), len(data))

    def begin(board, **facts):
        home = tmp_path / board / "home"
        home.mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("MAKING_HOME", str(home))
        device = connect(LocalAddress(root=tmp_path / board / "device"))
        opened.append(device)
        known = {"compatible": (MODULE, "board,family"), "l4t": "36.4.3"}
        device.facts = replace(device.facts, hostname=board, **{**known, **facts})
        events = []
        return Arena(
            device=device,
            recipe=None,
            target=None,
            model=None,
            frames=(frame,),
            reference=None,
            evaluation=None,
            limits=Limits(PLAN, 1, 0.01, 60.0),
            memory=Memory(tmp_path / "results", fingerprint(device.facts)),
            prebuilt=Prebuilt(device.facts),
            emit=events.append,
            stopwatch=Stopwatch(),
        )

    yield begin
    for device in opened:
        device.close()


def came_from(arena, entry, turn=0):
    """Measure once; tell where the runner took its file from."""
    return dict(time_once(arena, entry, CANDIDATE.knobs, PLAN, turn).versions)["came from"]


def made_in(bundle):
    return [file for file in bundle.files if file.path.endswith(".tuned")]


def notes(arena):
    return [event.text for event in arena.emit.__self__ if isinstance(event, Note)]


def test_first_board_makes_it_and_an_identical_board_is_sent_it(race, entry, tmp_path):
    first = race("first")
    assert came_from(first, entry) == "made"
    [file] = made_in(complete(first, entry))
    assert file.source.read_bytes() == b"tuned weights"
    assert came_from(first, entry, turn=1) == "bundle"
    second = race("second")
    assert came_from(second, entry) == "bundle"
    assert not list((tmp_path / "second/home").iterdir())
    assert complete(second, entry).identity == complete(first, entry).identity
    assert len(notes(first)) == 1
    assert "fp16" in notes(first)[0]
    assert "at most 60" in notes(first)[0]
    assert notes(second) == []


@pytest.mark.parametrize(
    "other",
    [{"compatible": ("board,module-4gb", "board,family")}, {"kernel": "9.9"}, {"l4t": "36.4"}],
)
def test_board_of_another_kind_makes_its_own(race, entry, other):
    assert came_from(race("first"), entry) == "made"
    second = race("second", **other)
    assert made_in(complete(second, entry)) == []
    assert came_from(second, entry) == "made"


def test_identical_boards_are_told_by_board_and_system_alone():
    one = facts_of()
    assert likeness(one) == likeness(replace(one, hostname="another", memory_total_bytes=1))


def test_results_stay_remembered_and_the_next_race_sends_nothing(race, entry):
    first = race("first")
    assert came_from(first, entry) == "made"
    lane = lane_of(first, entry)
    first.deliver(lane.bundle())
    again = race("first")
    assert came_from(again, entry) == "made"  # remembered, not run
    same = lane_of(again, entry).bundle()
    assert made_in(same)
    assert same.identity == lane.bundle().identity
    again.deliver(same)
    assert again.transfer.bytes_sent == 0


def lane_of(arena, entry):
    spec = RuntimeSpec(None, Path("board.txt"), (), (), entry.first_load_s)
    lane = Lane(arena, Feasible(CANDIDATE, Maker(), spec), CandidateResult(CANDIDATE, "ok"))
    lane._entries[CANDIDATE] = entry
    lane.build()
    assert lane.row.size_bytes == len(b"weights")  # of what was built here, in every race
    return lane


def test_link_lost_while_it_is_fetched_is_made_up_for_by_the_next_run(race, entry, monkeypatch):
    first = race("first")
    submit = AgentClient.submit

    def cut(self, verb, args=None, **hooks):
        if verb == "get" and args["path"].endswith(".tuned"):
            first.device._client._stream._process.kill()
        submit(self, verb, args, **hooks)

    with monkeypatch.context() as patch:
        patch.setattr(AgentClient, "submit", cut)
        with pytest.raises(ConnectionLostError):
            came_from(first, entry)
    assert made_in(complete(first, entry)) == []
    again = race("first")
    assert came_from(again, entry) == "own cache"
    assert made_in(complete(again, entry))
    assert came_from(race("second"), entry) == "bundle"


def test_file_that_arrives_damaged_is_refused_and_made_up_for(race, entry, monkeypatch):
    first = race("first")
    take = _Download._take

    def damaged(self, piece):
        take(self, b"?" + piece[1:] if self._path.suffix == ".tuned" else piece)

    with monkeypatch.context() as patch:
        patch.setattr(_Download, "_take", damaged)
        with pytest.raises(AgentError, match="arrived damaged"):
            came_from(first, entry)
    assert made_in(complete(first, entry)) == []
    again = race("first")
    assert came_from(again, entry) == "own cache"
    assert made_in(complete(again, entry))


def test_file_that_a_board_refuses_is_replaced_by_its_own(race, entry, tmp_path):
    first = race("first")
    assert came_from(first, entry) == "made"
    [good] = made_in(complete(first, entry))
    (tmp_path / "bad").write_bytes(b"of a board that said it was alike")
    first.prebuilt.keep(entry.bundle, [(good.path, tmp_path / "bad")])
    second = race("second")
    assert came_from(second, entry) == "made"
    assert made_in(complete(second, entry)) == [good]
    assert came_from(race("third"), entry) == "bundle"


def test_board_that_needs_another_is_sent_none_and_its_own_is_kept(race, entry, monkeypatch):
    assert came_from(race("first"), entry) == "made"
    monkeypatch.setenv("MAKING_KIND", "what the facts do not tell")
    second = race("second")
    assert came_from(second, entry) == "made"
    [newest] = made_in(complete(second, entry))  # the one before it is not sent along
    assert came_from(race("third"), entry) == "bundle"
    assert made_in(complete(race("fourth"), entry)) == [newest]


def test_content_that_was_damaged_here_is_not_sent(race, entry):
    first = race("first")
    assert came_from(first, entry) == "made"
    [file] = made_in(complete(first, entry))
    file.source.chmod(0o644)
    file.source.write_bytes(b"x")
    second = race("second")
    assert made_in(complete(second, entry)) == []
    assert came_from(second, entry) == "made"


def test_runner_cannot_put_its_file_in_a_bundle_files_place(race, entry, tmp_path):
    (tmp_path / "evil").write_bytes(b"of a board that was taken over")
    prebuilt = race("first").prebuilt
    with pytest.raises(RunnerError, match="has already"):
        prebuilt.keep(entry.bundle, [("runner.pyz", tmp_path / "evil")])
    assert prebuilt.completed(entry.bundle) is entry.bundle


def test_first_load_is_given_its_time_once(race, entry, monkeypatch):
    first = race("first")
    asked, really = [], first.device.run
    monkeypatch.setattr(
        first.device, "run", lambda *given: asked.append(given[1]) or really(*given)
    )
    for turn in range(3):
        came_from(first, entry, turn)
    assert [request.timeout_s for request in asked] == [3660.0, 60.0, 60.0]


def test_engine_that_makes_nothing_sees_nothing_of_it(race, entry, monkeypatch):
    plain = replace(entry, first_load_s=0.0)
    first = race("first")
    asked, really = [], first.device.run
    monkeypatch.setattr(
        first.device, "run", lambda *given: asked.append(given[1]) or really(*given)
    )
    assert came_from(first, plain) == "made"
    assert [(request.timeout_s, request.made) for request in asked] == [(60.0, False)]
    assert complete(first, plain) is plain.bundle
    assert notes(first) == []
    assert not (cache_root() / "made").exists()
