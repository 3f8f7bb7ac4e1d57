"""Tuning on two virtual boards at once: together, one of them lost for a while, both lost."""

import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from board_shell import skip_without_boards
from onnx import TensorProto, helper, numpy_helper

from edgekit.app.scopes import scope_of
from edgekit.app.tune import TuneOptions, tune
from edgekit.board import user_mode
from edgekit.catalog.cache import cache_root
from edgekit.catalog.devices import DeviceEntry, add_device
from edgekit.catalog.targets import load_target
from edgekit.core.errors import UnknownNameError, UnreachableError
from edgekit.core.events import Note, StepProgress
from edgekit.tune.records import RECORDS_FILE, open_records
from edgekit.tune.session import Limits

pytestmark = [
    pytest.mark.board,
    pytest.mark.slow,
    pytest.mark.toolbox,
    pytest.mark.network,
    pytest.mark.timeout(1500),
]

TARGET = "rk3566"
SHAPE = (1, 16, 28, 28)
PATIENCE_S = 300.0  # of this test, with a machine that does other things too


@pytest.fixture
def names(own_state):
    """Names for two boards that the test may bring up; they are removed afterwards."""
    del own_state  # the working directory, which must outlive this
    skip_without_boards()
    found = tuple(f"test-{os.getpid()}-{which}" for which in ("one", "two"))
    yield found
    for name in found:
        try:
            user_mode.down(name, wipe=True)
        except UnknownNameError:
            continue


@pytest.fixture
def model(tmp_path):
    """Write a model of two small convolutions; return its path."""
    random = np.random.default_rng(3)
    weights = {
        "w": random.standard_normal((16, 16, 3, 3)).astype(np.float32),
        "v": random.standard_normal((16, 16, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    path = tmp_path / "two.onnx"
    opset = helper.make_opsetid("", 13)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


@pytest.fixture
def records(own_state, monkeypatch):
    """Keep records of this test's own; return what reads them."""
    folder = own_state / "records"
    monkeypatch.setenv("EDGEKIT_RECORDS_DIR", str(folder))
    scope = scope_of(load_target(TARGET), emulated=True)

    def read():
        with open_records(folder / RECORDS_FILE) as opened:
            return tuple(opened.trials(scope))

    return read


@pytest.fixture
def inventory(names, records, monkeypatch, own_home):
    """Bring up two boards and keep them as devices, reached as real ones are: by SSH alone.

    A board that is meant by ``virtual:NAME`` would be started again when it is down.
    """
    del own_home  # its known_hosts is written to

    def up(name):
        return user_mode.up(load_target(TARGET), name=name)

    for name in names:
        board = up(name)
        with (Path.home() / ".ssh" / "known_hosts").open("a") as stream:
            stream.write(board.known_hosts.read_text())
        entry = DeviceEntry(
            name=name,
            address=board.host,
            port=board.port,
            user=board.user,
            target=TARGET,
            identity_file=board.identity_file,
        )
        add_device(entry)
    return up


@pytest.fixture(autouse=True)
def users_own_cache(request, monkeypatch):
    """Keep the cache where it is, though HOME is another: toolboxes take minutes to make."""
    root = cache_root()
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(root.parent))


def measures(name):
    """Tell whether what measures runs on a board."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            there = f"/instances/{name}/root" in str((entry / "root").readlink())
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if there and b"runner.pyz" in words:
            return True
    return False


def wait_until(true, every_s=0.2):
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(every_s)


def begins_to_measure(name):
    """Wait until a board begins to measure: then something is in flight there."""
    wait_until(lambda: not measures(name), 0.03)
    wait_until(lambda: measures(name), 0.03)


def check_none_twice(trials):
    assert len({(trial.structural_hash, trial.trace) for trial in trials}) == len(trials)


def test_two_boards_tune_together_and_measure_nothing_twice(edgekit, names, model, records):
    done = edgekit(
        "tune", model, "--target", TARGET, "--trials", "24",
        "--device", ",".join(f"virtual:{name}" for name in names),
    )  # fmt: skip
    assert done.code == 0
    assert (done.result["trials"], done.result["failures"]) == (24, 0)
    trials = records()
    assert len(trials) == 24
    check_none_twice(trials)
    measured = Counter(trial.device for trial in trials)
    assert set(measured) == {f"virtual:{name}" for name in names}
    assert all(trial.costs for trial in trials)


class Story:
    """What happens to boards while they tune; as a sink of events it keeps the notes.

    Tuning does not go past ``halt`` trials before the story is told to its end.
    """

    def __init__(self, tell, halt):
        self.notes = []
        self._tell, self._halt = tell, halt
        self._told = threading.Event()

    def __call__(self, event):
        if isinstance(event, Note):
            self.notes.append(event.text)
        elif isinstance(event, StepProgress) and event.step == "tune" and event.done >= self._halt:
            self._told.wait(PATIENCE_S)

    def _run(self):
        try:
            self._tell(self)
        finally:
            self._told.set()

    @contextmanager
    def told(self):
        with ThreadPoolExecutor(1) as pool:
            telling = pool.submit(self._run)
            yield
            telling.result(PATIENCE_S)


def test_board_that_is_lost_in_mid_tuning_is_waited_for_while_the_other_goes_on(
    inventory, names, model, records
):
    one, two = names
    moments = {}

    def measured_by(name, since_s=0.0):
        return [each for each in records() if each.device == name and each.measured_at_s > since_s]

    def tell(story):
        wait_until(lambda: measured_by(two))
        begins_to_measure(two)
        user_mode.down(two)
        moments["lost"] = time.time()
        wait_until(lambda: len(measured_by(one, moments["lost"])) >= 4)
        inventory(two)
        wait_until(lambda: f"{two} is back" in story.notes)
        moments["back"] = time.time()

    story = Story(tell, halt=40)
    with story.told():
        report = tune(TuneOptions(str(model), TARGET, names, Limits(trials=64)), emit=story)
    assert (report.tuned.stop, report.tuned.trials) == ("trials", 64)
    trials = records()
    assert len(trials) == 64
    check_none_twice(trials)
    failed = [trial for trial in trials if trial.failure]
    assert [(trial.failure, trial.device) for trial in failed] == [("device_lost", two)]
    assert report.tuned.failures == 1
    during = [each for each in trials if moments["lost"] < each.measured_at_s < moments["back"]]
    assert {trial.device for trial in during if trial.costs} == {one}
    assert any(trial.costs for trial in measured_by(two, moments["back"])), "it did not come back"
    (dropped,) = [text for text in story.notes if "dropped off" in text]
    assert dropped.startswith(f"{two} dropped off: ")
    assert not any("no device is left" in text for text in story.notes)


def test_both_boards_lost_are_waited_for_and_then_an_error_that_says_so(
    inventory, names, model, records
):
    def tell(_story):
        wait_until(records)
        begins_to_measure(names[0])
        for name in names:
            user_mode.down(name)

    story = Story(tell, halt=64)
    options = TuneOptions(str(model), TARGET, names, Limits(trials=64), away_s=8)
    with (
        story.told(),
        pytest.raises(UnreachableError, match="no device came back to work within 8 s") as caught,
    ):
        tune(options, emit=story)
    assert all(f"{name}: " in str(caught.value) for name in names)
    assert "refuses the connection" in str(caught.value)
    assert "the same command goes on" in caught.value.hint
    assert sum("dropped off" in text for text in story.notes) == 2
    assert sum("no device is left to measure on" in text for text in story.notes) == 1
    before = records()
    lost = [trial for trial in before if trial.failure]
    assert 1 <= len(lost) <= 2
    assert {trial.failure for trial in lost} == {"device_lost"}
    check_none_twice(before)

    for name in names:
        inventory(name)
    again = tune(TuneOptions(str(model), TARGET, names, Limits(trials=8)), emit=story)
    assert (again.tuned.stop, again.tuned.failures) == ("trials", 0)
    check_none_twice([trial for trial in records() if trial.costs])
