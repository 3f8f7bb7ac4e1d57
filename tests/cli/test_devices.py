import json

import pytest

from edgekit.cli.main import run


@pytest.fixture
def edgekit(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEKIT_DEVICE_ROOT", str(tmp_path / "device"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments, code=0):
        assert run([*arguments, "--json"]) == code
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return call


def test_device_is_kept_listed_and_forgotten(edgekit, tmp_path):
    key = tmp_path / "id"
    added = edgekit(
        "devices", "add", "bench-pi", "pi@192.168.1.20:2222", "--target", "rpi4",
        "--identity", str(key), "--proxy-jump", "gate", "--note", "left shelf",
    )  # fmt: skip
    assert added["address"] == "192.168.1.20"
    (listed,) = edgekit("devices", "list")["devices"]
    assert listed == added
    assert (listed["user"], listed["port"], listed["target"]) == ("pi", 2222, "rpi4")
    assert listed["identity_file"] == str(key)
    edgekit("devices", "remove", "bench-pi")
    assert edgekit("devices", "list")["devices"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("local", "pi@host"),
        ("Bench", "pi@host"),
        ("pi", "pi@host:99999"),
        ("pi", "local"),
        ("pi", "pi@host", "--target", "rpi44"),
    ],
)
def test_device_that_cannot_be_is_refused_and_nothing_is_kept(edgekit, arguments):
    fault = edgekit("devices", "add", *arguments, code=2)["error"]
    assert fault["hint"]
    assert edgekit("devices", "list")["devices"] == []


def test_unknown_device_cannot_be_removed(edgekit):
    edgekit("devices", "add", "bench-pi", "pi@host")
    fault = edgekit("devices", "remove", "bench-po", code=2)["error"]
    assert "bench-pi" in fault["hint"]


def test_name_is_not_overwritten_unasked(edgekit):
    edgekit("devices", "add", "bench-pi", "pi@one")
    edgekit("devices", "add", "bench-pi", "pi@two", code=2)
    assert edgekit("devices", "list")["devices"][0]["address"] == "one"


def test_probe_reads_this_machine(edgekit):
    probed = edgekit("devices", "probe", "local")
    assert probed["target"] == "local"
    found = probed["device"]
    assert found["libc"] == "glibc"
    assert found["cpu_usable"] >= 1
    assert found["emulated"] is False
    assert any(python["version"].startswith("3.") for python in found["pythons"])
