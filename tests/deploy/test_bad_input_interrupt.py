"""Ctrl-C at any moment: what is active is the old or the new, never neither; nothing is left."""

import json
import os
import signal
import subprocess
import sys
import time

import odd_onnx
import pytest
from processes import assert_nothing_runs_below

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.toolbox]

ONE = ("--quick", "--precision", "fp32", "--target", "local", "--engine", "onnxruntime")
QUICK = (*ONE, "--runs", "2", "--seconds", "0")
INTERRUPTED = 130
COMPARE = '"step_started", "step": "compare:'
MEASURE = '"step_progress", "step": "measure"'
# Moments of a deployment's life, each as what the first line of its events holds.
MOMENTS = (
    '"step_started", "step": "connect"',
    '"step_finished", "step": "connect"',
    '"step_started", "step": "prepare"',
    '"step_finished", "step": "reference"',
    '"step_started", "step": "push"',
    '"step_started", "step": "build:',
    '"step_finished", "step": "wheels:',
    COMPARE,
    '"step_finished", "step": "compare:',
    '"step_started", "step": "measure"',
    MEASURE,
    '"step_finished", "step": "measure"',
    '"step_started", "step": "activate"',
    '"step_finished", "step": "activate"',
)
# Seconds after the start: before anything is said, and while modules are still loaded.
EARLY_S = (0.04, 0.08, 0.12, 0.2)


def command(*arguments):
    return [sys.executable, "-m", "edgekit", *map(str, arguments), "--json"]


def call(*arguments):
    """Run to the end; return the result."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _heed_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupt(arguments, *, at=None, after_s=0.0, extra_s=0.0, number=signal.SIGINT):
    """Start, and press Ctrl-C when an event holds ``at``; return exit code and talk.

    As at a terminal, the whole process group is told.
    """
    with subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A suite that was started in the background has SIGINT ignored, and so would we.
        preexec_fn=_heed_interrupts,  # noqa: PLW1509 - no threads here
    ) as process:
        try:
            if at is None:
                time.sleep(after_s)
            else:
                assert any(at in line for line in process.stdout), f"no event holds {at}"
                time.sleep(extra_s)
            os.killpg(process.pid, number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    if at is not None and process.returncode == INTERRUPTED:
        assert json.loads(out.splitlines()[-1])["error"]["exit_code"] == INTERRUPTED
    return process.returncode, err


@pytest.fixture
def two_models(own_state):
    """An old model, deployed, and a new one: the new one's file, the old one's bundle."""
    old = odd_onnx.classifier(own_state / "old.onnx")
    new = odd_onnx.classifier(own_state / "new.onnx", channels=16)
    return new, call("deploy", old, *QUICK)["active"]["current"]


def test_interrupted_deploy_leaves_the_old_or_the_new(own_state, two_models):
    new, old_bundle = two_models
    told = []
    interrupts = [{"at": at} for at in MOMENTS] + [{"after_s": after_s} for after_s in EARLY_S]
    # While a runner starts, and while it measures.
    interrupts += [{"at": COMPARE, "extra_s": 0.2}, {"at": MEASURE, "extra_s": 0.4}]
    # The switch itself: as it begins, and one and two hundredths of a second later.
    interrupts += [{"at": MOMENTS[-2], "extra_s": extra_s} for extra_s in (0.003, 0.01, 0.02)]
    bundles = set()
    for each in interrupts:
        # What an earlier one of them found out would be no moment of this one's.
        code, err = interrupt(("deploy", new, *QUICK, "--fresh"), **each)
        assert_nothing_runs_below(own_state / "device")
        if "at" in each:
            assert "Traceback" not in err, (each, err)
            # It may have been done before the signal came.
            assert code in {INTERRUPTED, 0}, (each, code, err)
        else:
            # Python itself may be starting still, and has its own way to end.
            assert "edgekit/cli" not in err, (each, err)
        told.append(code)
        status = call("status", "--device", "local")
        bundles.add(status["current"]["bundle"])
        assert status["current"]["name"] in {"old", "new"}
        if status["current"]["name"] == "new":
            assert status["previous"]["bundle"] == old_bundle
            assert call("rollback", "--device", "local")["current"]["bundle"] == old_bundle
        else:
            assert status["current"]["bundle"] == old_bundle
    assert told.count(INTERRUPTED) >= len(MOMENTS)
    assert len(bundles) == 2, "no interrupt came after the switch"
    done = call("deploy", new, *QUICK)
    assert done["active"]["current"] == done["chosen"]["bundle"]
    assert done["active"]["previous"] == old_bundle
    again = call("deploy", new, *QUICK)
    assert again["transfer"]["bytes_sent"] == 0
    assert not list((own_state / "device" / "partial").iterdir())


def test_first_deploy_interrupted_in_mid_push_goes_on_with_the_next(own_state):
    model = odd_onnx.classifier(own_state / "net.onnx")
    code, err = interrupt(("deploy", model, *QUICK), at='"step_progress", "step": "push"')
    assert code == INTERRUPTED, err
    assert "what was finished is kept for the next call" in err
    assert_nothing_runs_below(own_state / "device")
    assert call("status", "--device", "local")["current"] is None
    device = own_state / "device"
    kept = sum(f.stat().st_size for name in ("store", "partial") for f in (device / name).iterdir())
    assert kept > 0
    done = call("deploy", model, *QUICK)
    whole = sum(file.stat().st_size for file in (device / "store").iterdir())
    assert done["transfer"]["bytes_sent"] == whole - kept
    assert done["active"]["current"] == done["chosen"]["bundle"]


def test_interrupted_run_of_a_long_measurement_ends_the_runner(own_state):
    model = odd_onnx.classifier(own_state / "net.onnx")
    code, _ = interrupt(("deploy", model, *ONE, "--seconds", "60"), at=MEASURE, extra_s=0.5)
    assert code == INTERRUPTED
    assert_nothing_runs_below(own_state / "device")
    assert call("status", "--device", "local")["current"] is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination_in_mid_build_ends_the_builder(own_state, monkeypatch, number):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(own_state / "cache"))
    model = odd_onnx.classifier(own_state / "net.onnx")
    at = '"step_started", "step": "toolbox:'
    code, err = interrupt(("deploy", model, *QUICK), at=at, extra_s=0.1, number=number)
    assert code == 128 + number
    assert err == ""
    assert_nothing_runs_below(own_state)
    assert not list((own_state / "cache" / "toolboxes" / ".building").iterdir())


@pytest.mark.parametrize(
    "at",
    [
        '"step_started", "step": "connect"',
        '"step_progress", "step": "push"',
        COMPARE,
        MEASURE,
        '"step_started", "step": "activate"',
    ],
)
def test_interrupted_deploy_over_ssh_ends_the_runner_there(users_home, sshd, own_state, at):
    users_home(sshd)
    where = ("--device", f"{sshd.user}@127.0.0.1:{sshd.port}")
    model = odd_onnx.classifier(own_state / "net.onnx")
    arguments = ("deploy", model, *ONE, "--engine", "ncnn", *where)
    arguments += ("--runs", "2", "--seconds", "0" if "activate" in at else "5")
    code, err = interrupt(arguments, at=at, extra_s=0.02)
    assert code in {INTERRUPTED, 0}
    assert "Traceback" not in err
    assert_nothing_runs_below(sshd.home)
    status = call("status", *where)
    assert status["current"] is None or "activate" in at


@pytest.fixture
def users_home(monkeypatch, request):
    """Point HOME at an empty one that knows a sshd; the user's cache stays where it is."""
    from edgekit.catalog.settings import settings

    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(settings().cache_dir))
    home = request.getfixturevalue("own_home")

    def configure(sshd):
        (home / ".ssh" / "config").write_text(
            f"Host 127.0.0.1\n  IdentityFile {sshd.identity}\n"
            f"  UserKnownHostsFile {sshd.known_hosts}\n"
        )

    return configure
