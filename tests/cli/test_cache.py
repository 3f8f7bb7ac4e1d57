import json

import pytest
from cache_makers import age, everything, made, using

from edgekit.catalog.in_use import let_go
from edgekit.cli.main import run

HOLD = "from edgekit.catalog.in_use import hold; hold(Path(sys.argv[1]))"


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def edgekit(capsys):
    def call(*arguments, code=0):
        assert run(["cache", *map(str, arguments), "--json"]) == code
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return call


@pytest.mark.parametrize("verb", [["show"], []])
def test_a_cache_that_is_not_there_is_told_and_not_made(verb, edgekit, root, capsys):
    assert run(["cache", *verb]) == 0
    said = capsys.readouterr().out
    assert str(root) in said
    assert "there is nothing in it" in said
    found = edgekit(*verb)
    assert (found["taken_bytes"], found["kinds"]) == (0, [])
    assert found["free_bytes"] > 0
    assert run(["cache", "prune", "--yes"]) == 0
    assert "there is nothing to remove" in capsys.readouterr().out
    assert not root.exists()


def test_show_tells_each_kind_with_what_is_old(edgekit, capsys):
    made("builds", "old", days=31, size=2_000_000)
    made("toolboxes", "new", size=1_000_000)
    kinds = {each["kind"]: each for each in edgekit("show")["kinds"]}
    assert set(kinds) == {"builds", "toolboxes"}
    assert 2_000_000 <= kinds["builds"]["old_bytes"] <= kinds["builds"]["taken_bytes"]
    assert kinds["toolboxes"]["old_bytes"] == 0
    assert edgekit("show", "--older-than", "5w")["kinds"][1]["old_bytes"] == 0
    assert run(["cache"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    (builds,) = (row for row in rows if row[0] == "builds")
    assert builds[-2:] == ["2.0", "MB"]
    (toolboxes,) = (row for row in rows if row[0] == "toolboxes")
    assert toolboxes[-3:] == ["1.0", "MB", "-"]


def test_dry_run_tells_what_prune_then_removes(edgekit, root):
    for days in (1, 29, 31, 400):
        made("builds", str(days), days=days)
        made("models", str(days), days=days)
    (root / "boards").mkdir()
    before = everything(root)
    dry = edgekit("prune", "--dry-run", "--kind", "builds")
    assert dry["dry_run"] is True
    assert everything(root) == before
    real = edgekit("prune", "--yes", "--kind", "builds")
    assert real["dry_run"] is False
    assert (dry["removed"], dry["freed_bytes"]) == (real["removed"], real["freed_bytes"])
    gone = before - everything(root)
    assert {str(path) for path in gone if path.is_relative_to(root) and path.name != "file"} == {
        each["path"] for each in real["removed"]
    }
    assert len(real["removed"]) == 2
    assert edgekit("prune", "--yes", "--kind", "builds")["removed"] == []
    assert len(edgekit("prune", "--yes", "--older-than", "2d")["removed"]) == 4


def test_prune_says_in_words_what_went_and_what_stays(capsys):
    made("builds", "1", days=31, size=2_000_000)
    made("builds", "2", days=31, size=1_000_000)
    path = made("models", days=31)
    with using(HOLD, path.parent):
        assert run(["cache", "prune", "--yes"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1].split() == [
        *("builds", "build", "not", "used", "for", "30", "days", "2", "3.0", "MB")
    ]
    assert said[2] == "stays: model in normal form (1): an edgekit that runs now uses such"
    assert said[3] == "3.0 MB freed"
    assert path.exists()


def test_where_nobody_can_be_asked_nothing_goes(edgekit, root, capsys):
    path = made("builds", days=31)
    assert run(["cache", "prune"]) == 2
    said = capsys.readouterr()
    assert "nobody is there to be asked" in said.err
    assert "not used for 30 days" in said.err
    assert not said.out
    assert "--yes" in edgekit("prune", code=2)["error"]["hint"]
    assert path.exists()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("\n", 2)])
def test_who_is_asked_decides(answer, code, monkeypatch, capsys):
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    path = made("builds", days=31)
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert run(["cache", "prune"]) == code
    assert path.exists() == bool(code)
    assert "Remove them?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prune", "--older-than", "soon"], "'soon' is no age such as 30d"),
        (["prune", "--older-than", "-1d"], "is no age such as 30d"),
        (["prune", "--older-than", "30"], "is no age such as 30d"),
        (["prune", "--older-than", f"{'9' * 400}d"], "is no age such as 30d"),
        (["show", "--older-than", ""], "is no age such as 30d"),
        (["prune", "--kind", "board"], "'board' is not one of"),
        (["prune", "--kind", "other"], "'other' is not one of"),
        (["purge"], "No such command 'purge'"),
        (["prune", "extra"], "unexpected extra argument"),
    ],
)
def test_wrong_words_are_usage_errors(arguments, said, capsys):
    path = made("builds", days=400)
    assert run(["cache", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert path.exists()


def test_json_before_the_verb_is_no_silent_table(capsys):
    assert run(["cache", "--json", "show"]) == 2
    assert "--json goes behind show" in capsys.readouterr().out


def test_a_cache_dir_that_is_a_file_is_told(root, capsys):
    root.write_text("no folder")
    assert run(["cache"]) in {1, 2}
    assert "Traceback" not in capsys.readouterr().err


def test_an_age_in_weeks_hours_and_minutes_counts(edgekit):
    path = made("builds")
    for text, hours in (("2w", 14 * 24), ("36h", 36), ("90m", 1.5), ("0.5d", 12)):
        age(path, (hours - 0.1) / 24)
        let_go()
        assert not edgekit("prune", "--dry-run", "--older-than", text)["removed"]
        age(path, (hours + 0.1) / 24)
        assert edgekit("prune", "--dry-run", "--older-than", text)["removed"]
