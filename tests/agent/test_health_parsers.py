"""Whatever the kernel's files hold: nothing is raised, nothing is invented."""

import json

import pytest
from board_trees import BoardTree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_agent.health import clocks, load, memory, snapshot
from device_agent.health.tree import Tree
from edgekit.core.health import HealthSnapshot

RARELY_FRESH = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150
)
BOARDS = ("jetson-orin-nano", "rpi4", "rk3399")

nonsense = st.one_of(
    st.binary(max_size=60),
    st.integers().map(lambda value: str(value).encode()),
    st.sampled_from([b"", b"\n", b"-1\n", b"0\n", b"<unknown>\n", b"nan\n", b"inf 1 2", b"cpu"]),
)


class Given(Tree):
    """One text for every file."""

    def __init__(self, text):
        super().__init__("/nowhere")
        self.given = text

    def text(self, path, whole=False):
        return self.given


@pytest.fixture(params=BOARDS)
def board_files(request, tmp_path):
    BoardTree(tmp_path, request.param)
    return tmp_path, sorted(file for file in tmp_path.rglob("*") if file.is_file())


@RARELY_FRESH
@given(data=st.data())
def test_any_bytes_in_any_file_give_a_record(board_files, data):
    root, files = board_files
    file = data.draw(st.sampled_from(files))
    whole = file.read_bytes()
    kernel = Tree(str(root))
    snapshot(kernel)
    content = data.draw(st.none() | nonsense)
    try:
        if content is None:
            file.unlink()
        else:
            file.write_bytes(content)
        for tree in (kernel, str(root)):
            found = json.loads(json.dumps(snapshot(tree), allow_nan=False))
            HealthSnapshot.from_json(found)
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize(
    ("text", "average"),
    [("0.52 0.58 0.59 1/467 9", 0.52), ("4194304", 4194304.0), ("1000000000000000065", None),
     ("nan", None), ("inf", None), ("-1", None), ("", None)],
)  # fmt: skip
def test_load_average_is_one_that_can_be_true(text, average):
    assert load.read(Given(text)).get("load_1min") == average


@given(
    name=st.text(st.characters(codec="ascii", exclude_characters="\0\n"), max_size=16),
    times=st.tuples(*[st.integers(0, 2**60)] * 4),
    group=st.integers(1, 2**22),
)
def test_process_times_are_read_whatever_the_process_is_called(name, times, group):
    words = " ".join(map(str, times))
    text = f"12 ({name}) S 1 {group} 3 4 5 6 7 8 9 10 {words} 20 0 1 0 99"
    assert load._ticks(text) == (group, sum(times))


@given(ticks=st.lists(st.integers(0, 2**60), min_size=8, max_size=10))
def test_all_ticks_of_the_first_line_alone_count(ticks):
    text = "cpu  " + " ".join(map(str, ticks)) + "\ncpu0 9 9 9 9 9 9 9 9"
    assert load._all_ticks(text) == tuple(ticks[:8])


@given(text=st.text(max_size=80))
def test_all_ticks_of_any_text_are_eight_counts_or_none(text):
    found = load._all_ticks(text)
    assert len(found) in {0, 8}
    assert all(value >= 0 for value in found)


@given(cpus=st.sets(st.integers(0, 255), min_size=1))
def test_online_cores_are_read_back_from_the_kernels_list(cpus):
    ordered = sorted(cpus)
    starts = [cpu for cpu in ordered if cpu - 1 not in cpus]
    ends = [cpu for cpu in ordered if cpu + 1 not in cpus]
    text = ",".join(
        str(start) if start == end else f"{start}-{end}"
        for start, end in zip(starts, ends, strict=True)
    )
    assert clocks.online(Given(text)) == ordered


@given(text=st.text(alphabet="0123456789-,x", max_size=200))
def test_online_cores_of_garbage_are_few_or_none(text):
    assert len(clocks.online(Given(text))) <= 8192


@given(pages=st.integers(0, 2**50), other=st.integers(0, 2**50))
def test_swapped_pages_are_not_those_of_a_longer_name(pages, other):
    text = f"pswpin_zero {other}\npswpin {pages}\nxpswpout {other}"
    assert memory._table(text, ("pswpin", "pswpout")) == {"pswpin": pages}
