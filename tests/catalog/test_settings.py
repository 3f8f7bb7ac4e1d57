import dataclasses
from pathlib import Path

import pytest

from edgekit.catalog.settings import (
    Settings,
    data_folders,
    environment_name,
    settings,
    settings_markdown,
)
from edgekit.core.errors import CatalogError, UsageError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def user_file(home):
    file = home / ".config" / "edgekit" / "config.toml"
    file.parent.mkdir(parents=True)
    return file


def test_defaults_hold_where_nothing_is_said(home):
    assert settings() == Settings(
        cache_dir=home / ".cache/edgekit",
        runs_dir=home / ".local/state/edgekit/runs",
        devices_file=home / ".config/edgekit/devices.toml",
    )


def test_layers_win_in_their_order(home, user_file, monkeypatch):
    assert settings().threads is None
    user_file.write_text("threads = 1\nmax_drop = 0.5\n")
    assert settings().threads == 1
    (home / "edgekit.toml").write_text("threads = 2\n")
    assert settings().threads == 2
    monkeypatch.setenv("EDGEKIT_THREADS", "3")
    assert settings().threads == 3
    assert settings({"threads": 4, "max_drop": None}).threads == 4
    assert settings({"threads": None}).threads == 3
    assert settings().max_drop == 0.5


def test_paths_in_a_file_count_from_its_own_folder(home, user_file, monkeypatch, tmp_path):
    user_file.write_text('model_path = ["models", "/abs", "~/mine"]\n')
    expected = (user_file.parent / "models", Path("/abs"), home / "mine")
    assert settings().model_path == expected
    monkeypatch.chdir(tmp_path)
    assert settings().model_path == expected
    monkeypatch.setenv("EDGEKIT_MODEL_PATH", "../shared/models:/b:")
    assert settings().model_path == (tmp_path / "../shared/models", Path("/b"))


def test_names_in_a_variable_are_parted_by_commas(home, user_file, monkeypatch):
    user_file.write_text('accept_licence = ["rknn"]\n')
    assert settings().accept_licence == ("rknn",)
    monkeypatch.setenv("EDGEKIT_ACCEPT_LICENCE", "rknn, other,")
    assert settings().accept_licence == ("rknn", "other")


def test_data_folders_follow_the_model_path(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_DATA_PATH", "/data/own")
    monkeypatch.setenv("EDGEKIT_MODEL_PATH", "/shared/models:/data")
    assert data_folders() == (
        Path("/data/own"),
        Path("/shared/models"),
        Path("/shared/data"),
        Path("/data"),
    )


def test_wrong_file_is_told_with_its_line(home):
    (home / "edgekit.toml").write_text('thread = 2\nmax_drop = "a lot"\n')
    with pytest.raises(CatalogError) as caught:
        settings()
    assert "edgekit.toml:1: unknown key 'thread'; did you mean 'threads'?" in caught.value.message
    assert "edgekit.toml:2: max_drop must be a number, is a string" in caught.value.message


def test_wrong_environment_is_told_all_at_once(monkeypatch):
    monkeypatch.setenv("EDGEKIT_THREADS", "two")
    monkeypatch.setenv("EDGEKIT_MAX_DROP", "x")
    with pytest.raises(UsageError) as caught:
        settings()
    assert "EDGEKIT_THREADS='two'" in caught.value.message
    assert "EDGEKIT_MAX_DROP='x'" in caught.value.message


@pytest.mark.parametrize(
    "option",
    [{"threads": 0}, {"max_drop": 1.5}, {"max_drop": float("nan")}, {"connect_timeout_s": 0.0}],
)
def test_values_that_cannot_be_meant_are_refused(option):
    with pytest.raises(UsageError):
        settings(option)


def test_unknown_option_is_refused():
    with pytest.raises(UsageError, match="colour"):
        settings({"colour": "red"})


def test_empty_environment_and_relative_xdg_count_as_absent(home, monkeypatch):
    monkeypatch.setenv("EDGEKIT_THREADS", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert settings().threads is None
    assert settings().cache_dir == home / ".cache/edgekit"


def test_environment_values_have_the_type_of_their_field(monkeypatch):
    typed = {
        "model_path": ("/a:/b", (Path("/a"), Path("/b"))),
        "cache_dir": ("/c", Path("/c")),
        "target": ("rk3566", "rk3566"),
        "max_drop": ("0.02", 0.02),
        "threads": ("4", 4),
        "connect_timeout_s": ("2.5", 2.5),
    }
    for name, (text, _) in typed.items():
        monkeypatch.setenv(environment_name(name), text)
    held = dataclasses.asdict(settings())
    assert {name: held[name] for name in typed} == {n: value for n, (_, value) in typed.items()}


def test_documentation_is_made_from_the_table():
    assert (ROOT / "docs" / "settings.md").read_text("utf-8") == settings_markdown(), (
        "make it anew: python -c 'from edgekit.catalog.settings import settings_markdown; "
        'print(settings_markdown(), end="")\' > docs/settings.md'
    )
    for field in dataclasses.fields(Settings):
        assert f"`{field.name}`" in settings_markdown()
