import io
import json
import os
from dataclasses import replace

import pytest
from tuning_records import A55, SCOPE, make_record, make_workload

from edgekit.app.records import own_records, records_file
from edgekit.cli.main import run

INSTRUCTIONS = replace(SCOPE, cost="instructions")
RK3588 = replace(SCOPE, fingerprint=replace(A55, target="rk3588", mcpu="cortex-a76", threads=1))


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_RECORDS_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def edgekit(capsys):
    def call(*arguments, code=0):
        assert run(["records", *map(str, arguments), "--json"]) == code
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return call


def fill():
    with own_records() as records:
        records.keep_workloads([make_workload("a")])
        for scope, cost in ((SCOPE, 0.004), (INSTRUCTIONS, 4e6), (RK3588, 0.001)):
            records.append(make_record("a", cost, scope=scope, flops=32e6))
            records.append(make_record("b", failure="timeout", scope=scope))


def test_nothing_is_listed_and_nothing_made_where_there_is_nothing(edgekit, capsys):
    assert edgekit("list")["scopes"] == []
    assert run(["records", "list"]) == 0
    assert "no tuning records at" in capsys.readouterr().out
    assert not records_file().parent.exists()


def test_list_shows_scopes_and_with_tasks_their_best(edgekit, capsys):
    fill()
    found = edgekit("list", "--tasks", "--target", "rk3566")["scopes"]
    assert [each["scope"]["cost"] for each in found] == ["seconds", "instructions"]
    assert [(each["tasks"], each["trials"], each["failures"]) for each in found] == [(2, 2, 1)] * 2
    (a, b) = found[0]["task_list"]
    assert (a["best"], b["best"], b["failures"]) == (0.004, None, 1)
    assert edgekit("list")["scopes"][2]["task_list"] == []
    assert run(["records", "list", "--tasks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("4.000 ms    8.00  hash-a" in line for line in lines)
    assert any("4000000" in line and "FPS" not in line for line in lines)
    assert "rk3588, 1 thread, TVM 0.27.0.post1, pipeline 1, seconds" in lines


def test_records_go_by_a_file_to_another_user(edgekit, tmp_path, monkeypatch):
    fill()
    assert edgekit("export", "mine.jsonl", "-t", "rk3566") == {"file": "mine.jsonl", "trials": 4}
    listed = edgekit("list", "--tasks", "-t", "rk3566")["scopes"]
    monkeypatch.setenv("EDGEKIT_RECORDS_DIR", str(tmp_path / "other"))
    assert edgekit("import", "mine.jsonl")["taken"] == [{"source": "mine.jsonl", "new": 4}]
    assert edgekit("import", "mine.jsonl")["taken"] == [{"source": "mine.jsonl", "new": 0}]
    assert edgekit("list", "--tasks")["scopes"] == listed


def test_databases_are_merged(edgekit, tmp_path, monkeypatch, capsys):
    fill()
    first = records_file()
    monkeypatch.setenv("EDGEKIT_RECORDS_DIR", str(tmp_path / "other"))
    fill()
    taken = edgekit("merge", first, first)["taken"]
    assert [each["new"] for each in taken] == [6, 0]
    assert run(["records", "merge", str(first)]) == 0
    assert capsys.readouterr().out == f"{first}: nothing new\n"


def test_what_was_merged_before_a_wrong_file_is_told(tmp_path, monkeypatch, edgekit, capsys):
    fill()
    first = records_file()
    (tmp_path / "odd").write_text("hello\n")
    monkeypatch.setenv("EDGEKIT_RECORDS_DIR", str(tmp_path / "other"))
    assert run(["records", "merge", str(first), "odd"]) == 2
    assert f"{first} was taken over: 6 new" in capsys.readouterr().err
    assert edgekit("merge", first)["taken"][0]["new"] == 0


def test_dash_is_standard_output_and_input(edgekit, monkeypatch, tmp_path, capsys):
    fill()
    assert run(["records", "export", "-"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1 + 1 + 3 + 6 + 1
    monkeypatch.setenv("EDGEKIT_RECORDS_DIR", str(tmp_path / "other"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(captured.out.encode())))
    assert edgekit("import", "-")["taken"] == [{"source": "standard input", "new": 6}]


def test_export_replaces_nothing_unasked_and_leaves_no_half_file(edgekit, tmp_path):
    fill()
    (tmp_path / "kept").write_text("mine")
    assert "--force" in edgekit("export", "kept", code=2)["error"]["hint"]
    assert (tmp_path / "kept").read_text() == "mine"
    edgekit("export", "kept", "--target", "rk3588x", "--force", code=2)
    assert (tmp_path / "kept").read_text() == "mine"
    assert edgekit("export", "kept", "--force")["trials"] == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "state"]


def test_export_takes_the_place_of_files_alone(edgekit, tmp_path):
    fill()
    os.mkfifo(tmp_path / "pipe")
    assert "- writes" in edgekit("export", "pipe", "--force", code=2)["error"]["hint"]
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "kept").write_text("mine")
    (tmp_path / "link").symlink_to("kept")
    edgekit("export", "link", "--force")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "kept").read_text().startswith('{"format"')


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "--target", "rk356"], "rk3566"),
        (["export", "none/a.jsonl"], "make it"),
        (["export", "-"], "name a file"),
        (["export", "state/records.sqlite", "--force"], "another"),
        (["import", "none"], "--help"),
        (["import", "state/records.sqlite"], "records merge"),
        (["import", "odd"], "records export"),
        (["merge", "odd"], "records.sqlite"),
        (["merge", "export"], "records import"),
        (["merge", "state/records.sqlite"], "another"),
        (["merge"], "--help"),
    ],
)
def test_wrong_input_is_one_error_with_a_hint_and_changes_nothing(
    edgekit, tmp_path, arguments, words
):
    fill()
    (tmp_path / "odd").write_text("hello\n")
    edgekit("export", "export")
    before = records_file().read_bytes()
    assert words in edgekit(*arguments, code=2)["error"]["hint"]
    assert records_file().read_bytes() == before


def test_nothing_can_be_exported_where_there_is_nothing(edgekit, tmp_path):
    assert "EDGEKIT_RECORDS_DIR" in edgekit("export", "a", code=2)["error"]["hint"]
    assert list(tmp_path.iterdir()) == []


def test_damage_is_told_and_the_rest_listed(edgekit, capsys):
    fill()
    content = records_file().read_bytes()
    records_file().write_bytes(b"junk" + content[4:])
    assert run(["records", "list"]) == 0
    captured = capsys.readouterr()
    assert "6 trials could be read and are kept" in captured.err
    assert captured.out.count("rk3566") == 2
    assert run(["records", "list"]) == 0
    assert capsys.readouterr().err == ""
