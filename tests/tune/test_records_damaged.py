"""A damaged file is put aside and told of, and what is whole in it goes on."""

import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuning_records import SCOPE, make_record, make_workload

from edgekit.core.errors import UsageError
from edgekit.tune.database import insert
from edgekit.tune.records import open_records
from edgekit.tune.rows import PAGE_BYTES
from edgekit.tune.salvage import salvage

SIZES = (10, 300, 900, 3000, 9000, 30_000)
# What a row takes besides its trace is never less: so many rows a page can hold at most.
ROW_BYTES = 400


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A database of trials of all sizes, and what stands in it."""
    path = tmp_path_factory.mktemp("made") / "records.sqlite"
    trials = [make_record(f"t{n % 5}", trace_bytes=SIZES[n % len(SIZES)]) for n in range(120)]
    workloads = [make_workload(f"t{n}", size=5000) for n in range(5)]
    with open_records(path) as records:
        records.keep_workloads(workloads)
        records._store.run(lambda held: insert(held, trials))
    return path.read_bytes(), trials, workloads


def reopened(content: bytes, folder: Path):
    """What is found in a file with this content, the notes, and what was put aside."""
    path = folder / "records.sqlite"
    path.write_bytes(content)
    notes = []
    with open_records(path, emit=notes.append) as records:
        trials = tuple(records.trials(SCOPE))
        workloads = records.workloads(SCOPE.tvm)
        late = make_record()
        assert records.append(late)
        assert list(records.trials(SCOPE))[-1] == late
    return trials, workloads, notes, sorted(folder.glob("records.damaged-*.sqlite"))


def pages_of(content: bytes, kind: int) -> list[int]:
    """Offsets of the pages of a kind."""
    starts = range(0, len(content), PAGE_BYTES)
    return [at for at in starts if content[at + (100 if at == 0 else 0)] == kind]


def test_sound_file_is_left_alone(made, tmp_path):
    content, trials, workloads = made
    found, modules, notes, aside = reopened(content, tmp_path)
    assert (list(found), list(modules), notes, aside) == (trials, workloads, [], [])


def test_salvage_finds_every_row_by_itself(made, tmp_path):
    content, trials, workloads = made
    path = tmp_path / "copy"
    path.write_bytes(content)
    found = list(salvage(path))
    assert [value for _, value in sorted(found, key=lambda pair: pair[0]) if value in trials] == (
        trials
    )
    assert [value for _, value in found if value in workloads] == workloads
    assert len(found) == len(trials) + len(workloads)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_flipped_bytes_cost_no_more_than_what_stands_there(made, data):
    content, trials, _ = made
    places = data.draw(
        st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=6, unique=True)
    )
    flipped = bytearray(content)
    for place in places:
        flipped[place] ^= data.draw(st.integers(1, 255))
    with TemporaryDirectory() as folder:
        found, _, notes, aside = reopened(bytes(flipped), Path(folder))
        kept = aside[0].read_bytes() if aside else b""
    assert set(found) <= set(trials), "a trial that nobody measured"
    hit = {place // PAGE_BYTES for place in places}
    assert len(found) >= len(trials) - len(hit) * (PAGE_BYTES // ROW_BYTES)
    if len(found) < len(trials):
        assert notes
    assert len(aside) == len(notes) <= 1
    if aside:
        assert kept == bytes(flipped)
        assert notes[0].warning
        assert f"{len(found)} trials" in notes[0].text


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_whole_page_of_zeros_costs_no_more_than_what_stands_there(made, data):
    content, trials, _ = made
    page = data.draw(st.integers(0, len(content) // PAGE_BYTES - 1))
    wiped = bytearray(content)
    wiped[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = bytes(PAGE_BYTES)
    with TemporaryDirectory() as folder:
        found, _, notes, aside = reopened(bytes(wiped), Path(folder))
    assert set(found) <= set(trials)
    assert len(found) >= len(trials) - PAGE_BYTES // ROW_BYTES
    assert len(aside) == len(notes) == 1


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_file_that_was_cut_keeps_what_stood_before(made, data):
    content, trials, _ = made
    length = data.draw(st.integers(1, len(content) - 1))
    with TemporaryDirectory() as folder:
        whole = Path(folder) / "cut"
        whole.write_bytes(content[:length])
        expected = {value for _, value in salvage(whole)} & set(trials)
        found, _, notes, aside = reopened(content[:length], Path(folder))
    assert set(found) == expected
    assert len(aside) == len(notes) == 1


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_most_of_a_cut_file_before_the_cut_is_kept(made, tmp_path, share):
    content, trials, _ = made
    found, *_ = reopened(content[: int(share * len(content))], tmp_path)
    assert len(found) >= share * len(trials) - 2 * len(SIZES)


def test_nothing_is_lost_with_the_trees_above_the_rows(made, tmp_path):
    content, trials, workloads = made
    broken = bytearray(content)
    above = [*pages_of(content, 0x05), *pages_of(content, 0x02), *pages_of(content, 0x0A)]
    assert len(above) > 3
    for at in (0, *above):
        broken[at : at + PAGE_BYTES] = b"\xff" * PAGE_BYTES
    found, modules, notes, _ = reopened(bytes(broken), tmp_path)
    assert set(found) == set(trials)
    assert list(found) == trials, "rows keep their numbers"
    assert set(modules) == set(workloads)
    assert len(notes) == 1


@pytest.mark.parametrize("junk", [b"x", b"not a database\n" * 400, b"\0" * 9000])
def test_file_of_something_else_is_put_aside(tmp_path, junk):
    found, _, notes, aside = reopened(junk, tmp_path)
    assert found == ()
    assert "0 trials could be read" in notes[0].text
    assert [each.read_bytes() for each in aside] == [junk]


def test_database_of_something_else_is_put_aside(tmp_path):
    connection = sqlite3.connect(tmp_path / "records.sqlite")
    connection.execute("CREATE TABLE cats (name)")
    connection.commit()
    connection.close()
    content = (tmp_path / "records.sqlite").read_bytes()
    *_, notes, aside = reopened(content, tmp_path)
    assert "tables" in notes[0].text
    assert [each.read_bytes() for each in aside] == [content]


@pytest.mark.parametrize("version", [0, 3, 0x01010101])
def test_flipped_schema_number_is_damage_not_news(made, tmp_path, version):
    content, trials, _ = made
    flipped = bytearray(content)
    flipped[60:64] = version.to_bytes(4)
    found, _, notes, _ = reopened(bytes(flipped), tmp_path)
    assert list(found) == trials
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("place", "value"),
    [(18, 3), (19, 2), (47, 9), (44, 1), (16, 0x20), (20, 8), (21, 1), (52, 1), (59, 3)],
)
def test_header_of_a_stranger_is_damage(made, tmp_path, place, value):
    content, trials, workloads = made
    changed = bytearray(content)
    changed[place] = value
    found, modules, notes, aside = reopened(bytes(changed), tmp_path)
    assert (list(found), list(modules)) == (trials, workloads)
    assert len(notes) == len(aside) == 1


def test_empty_file_is_a_new_one(tmp_path):
    found, _, notes, aside = reopened(b"", tmp_path)
    assert (found, notes, aside) == ((), [], [])


def test_damage_is_met_in_mid_way_and_reading_goes_on(tmp_path):
    path = tmp_path / "records.sqlite"
    made = [make_record(trace_bytes=3000) for _ in range(500)]
    notes = []
    with open_records(path, emit=notes.append) as records:
        records._store.run(lambda held: insert(held, made))
        records._store.run(lambda held: held.execute("PRAGMA cache_size=5"))  # read it anew
        reading = records.trials(SCOPE)
        head = [next(reading) for _ in range(100)]
        content = bytearray(path.read_bytes())
        place = content.index(made[350].trace.encode()) + 50
        content[place] ^= 1
        with path.open("r+b") as stream:  # the same file, as a failing disk would change it
            stream.write(content)
        rest = list(reading)
        assert len(notes) == 1
        assert head + rest == [each for each in made if each is not made[350]]
        assert records.append(made[350])
    assert len(list(tmp_path.glob("records.damaged-*"))) == 1


def test_quick_look_up_meets_damage_only_where_it_reads(tmp_path):
    path = tmp_path / "records.sqlite"
    broken, sound = (make_record(name, trace_bytes=3000) for name in ("broken", "sound"))
    with open_records(path) as records:
        records.append(broken)
        records.append(sound)
    content = bytearray(path.read_bytes())
    content[content.index(broken.trace.encode()) + 50] ^= 1
    path.write_bytes(content)
    notes = []
    with open_records(path, emit=notes.append, thorough=False) as records:
        assert records.best(SCOPE, "hash-sound") == sound
        assert notes == []
        assert records.best(SCOPE, "hash-broken") is None
        assert len(notes) == 1
        assert tuple(records.trials(SCOPE)) == (sound,)


def test_other_process_goes_on_in_the_mended_file(made, tmp_path):
    content, trials, _ = made
    path = tmp_path / "records.sqlite"
    path.write_bytes(content)
    with open_records(path) as first:
        assert len(tuple(first.trials(SCOPE))) == len(trials)
        path.write_bytes(content[: len(content) // 2])
        with open_records(path, emit=lambda _: None) as second:
            left = len(tuple(second.trials(SCOPE)))
        late = make_record()
        assert first.append(late)
        with open_records(path) as third:
            assert len(tuple(third.trials(SCOPE))) == left + 1
        assert late in tuple(first.trials(SCOPE))


def test_second_damage_gets_a_name_of_its_own(tmp_path):
    for _ in range(3):
        *_, aside = reopened(b"junk" * 1000, tmp_path)
    assert len(aside) == 3


def test_merge_takes_what_is_whole_in_a_damaged_file_and_leaves_it_alone(made, tmp_path):
    content, trials, _ = made
    other = tmp_path / "other.sqlite"
    other.write_bytes(content[: len(content) // 2])
    notes = []
    with open_records(tmp_path / "records.sqlite", emit=notes.append) as records:
        new = records.merge(other)
        assert 0 < new < len(trials)
        assert set(records.trials(SCOPE)) < set(trials)
        assert f"{new} trials could be read" in notes[0].text
        other.write_bytes(content)
        assert records.merge(other) == len(trials) - new
    assert other.read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".sqlite") == [
        "other.sqlite",
        "records.sqlite",
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b'{"format"', "records import"), (b"SQLite format 3\0", "something else"), (b"", "takes")],
)
def test_merge_of_something_else_is_refused(tmp_path, content, words):
    other = tmp_path / "other"
    other.write_bytes(content)
    with open_records(tmp_path / "records.sqlite") as records, pytest.raises(UsageError) as caught:
        records.merge(other)
    assert words in caught.value.hint
