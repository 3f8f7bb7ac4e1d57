"""NVIDIA's scripts, played from transcripts: steps, progress, faults, and success only if told."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from transcript_player import play_as
from usb_tree import plug

from edgekit.catalog.targets import load_target
from edgekit.core.errors import FlashError, UsageError
from edgekit.core.events import StepFinished, StepProgress, StepStarted, ignore
from edgekit.core.flash_method import FlashJob
from edgekit.flash.methods import jetson, load_method

TRANSCRIPTS = Path(__file__).parent / "transcripts"


@pytest.fixture
def folder(tmp_path):
    """NVIDIA's folder, as far as it is looked at."""
    made = tmp_path / "Linux_for_Tegra"
    (made / "rootfs/etc").mkdir(parents=True)
    (made / "rootfs/etc/passwd").touch()
    (made / "jetson-orin-nano-devkit.conf").touch()
    return made


@pytest.fixture
def job(tmp_path, folder):
    plug(tmp_path / "root", "1-10.3", "0955:7523")
    return FlashJob(
        target=load_target("jetson-orin-nano"),
        image=None,
        root=tmp_path / "root",
        options={"folder": str(folder)},
    )


def flash(job, transcript, emit=ignore, script="flash.sh"):
    play_as(Path(job.options["folder"]) / script, TRANSCRIPTS / f"{transcript}.txt")
    method = load_method("jetson")
    (unit,) = method.units(job.target, job.root)
    return method.flash(unit, job, emit)


def test_flash_script_is_told_the_port_and_its_log_becomes_steps(job, tmp_path, monkeypatch):
    calls = tmp_path / "calls"
    monkeypatch.setenv("PLAYED_CALLS", str(calls))
    events = []
    flashed = flash(job, "jetson-flash-done", events.append)
    assert json.loads(calls.read_text()) == [
        "--usb-instance",
        "1-10.3",
        "jetson-orin-nano-devkit",
        "internal",
    ]
    assert flashed.unit.port == "usb 1-10.3"
    assert flashed.written_bytes == 2 * 243712
    assert flashed.checked == "none"
    titles = [e.title for e in events if isinstance(e, StepStarted)]
    assert titles[0] == "flash usb 1-10.3 as jetson-orin-nano-devkit"
    for title in ("Sending blob", "write partition A_MEM_BCT", "write partition B_MEM_BCT"):
        assert f"usb 1-10.3: {title}" in titles
    assert not [title for title in titles if "tegra" in title]
    moved = [e for e in events if isinstance(e, StepProgress)]
    assert {e.step.rsplit(":", 1)[1] for e in moved} == {
        "Sending blob",
        "write partition A_MEM_BCT",
        "write partition B_MEM_BCT",
    }
    begun = [e.step for e in events if isinstance(e, StepStarted)]
    ended = [e.step for e in events if isinstance(e, StepFinished) and e.ok]
    assert sorted(begun) == sorted(ended)


def test_initrd_script_is_asked_for_its_log(job, tmp_path, monkeypatch):
    calls = tmp_path / "calls"
    monkeypatch.setenv("PLAYED_CALLS", str(calls))
    asked = {"script": "initrd", "arguments": "--external-device nvme0n1p1 -p '-c a.xml'"}
    events = []
    flash(
        replace(job, options={**job.options, **asked}),
        "jetson-initrd-done",
        events.append,
        "tools/kernel_flash/l4t_initrd_flash.sh",
    )
    told = json.loads(calls.read_text())
    assert told[2:] == [
        *("--external-device", "nvme0n1p1", "-p", "-c a.xml", "--showlogs"),
        *("jetson-orin-nano-devkit", "internal"),
    ]
    titles = [e.title for e in events if isinstance(e, StepStarted)]
    assert "usb 1-10.3: Step 3: Start the flashing process" in titles
    assert "usb 1-10.3: Successfully flash the qspi" in titles


@pytest.mark.parametrize(
    ("transcript", "script", "words"),
    [
        ("jetson-flash-no-boardinfo", "flash", "the board's own description cannot be read"),
        ("jetson-flash-usb-timeout", "flash", "the board was lost on USB"),
        ("jetson-flash-quiet-end", "flash", "status 0; it said last"),
        ("jetson-initrd-timeout", "initrd", "the board's helper system did not start"),
    ],
)
def test_fault_is_told_in_words_with_a_hint(job, transcript, script, words):
    events = []
    programs = {"flash": "flash.sh", "initrd": "tools/kernel_flash/l4t_initrd_flash.sh"}
    with pytest.raises(FlashError, match=words) as caught:
        flash(
            replace(job, options={**job.options, "script": script}),
            transcript,
            events.append,
            programs[script],
        )
    assert caught.value.hint
    assert not [e for e in events if isinstance(e, StepFinished)][-1].ok


def test_script_that_falls_silent_is_given_up(job, monkeypatch):
    monkeypatch.setattr(jetson, "_SILENCE_S", 0.8)
    with pytest.raises(FlashError, match=r"flash.sh said nothing for 0.8 s"):
        flash(job, "jetson-flash-lost")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("folder", "", "needs NVIDIA's folder"),
        ("script", "sdkmanager", "script is 'sdkmanager'"),
        ("board", "jetson-nano-devkit", "knows no board 'jetson-nano-devkit'"),
    ],
)
def test_option_that_cannot_be_meant_is_refused_before_the_script_runs(job, option, value, words):
    method = load_method("jetson")
    (unit,) = method.units(job.target, job.root)
    play_as(Path(job.options["folder"]) / "flash.sh", TRANSCRIPTS / "jetson-flash-done.txt")
    with pytest.raises(UsageError, match=words):
        method.flash(unit, replace(job, options={**job.options, option: value}), ignore)
    with pytest.raises(UsageError, match="no image"):
        method.flash(unit, replace(job, image=Path("card.img")), ignore)


def test_folder_without_a_root_file_system_is_refused(job, folder):
    (folder / "rootfs/etc/passwd").unlink()
    with pytest.raises(FlashError, match="holds no root file system") as caught:
        flash(job, "jetson-flash-done")
    assert "apply_binaries.sh" in caught.value.hint
