"""Throttling put upon a running board is found every time, and never where there was none."""

import hashlib
import io
import json
import os
import zipfile

import pytest

from edgekit.bench.validity import judge
from edgekit.core.bundle import Bundle, BundleFile, RuntimePack
from edgekit.device import RunRequest, SshAddress, Watch, connect

pytestmark = [pytest.mark.board, pytest.mark.machine, pytest.mark.slow, pytest.mark.network]

REPEATS = int(os.environ.get("EDGEKIT_TEST_REPEATS", "5"))
"""The figure is 20 of 20; each takes seconds that a whole test run does not have."""

HOT, COOL = "virtual-sensors temperature 95000", "virtual-sensors temperature 45000"
UNTIL_COOL = "while grep -qv '^0$' /sys/class/thermal/cooling_device*/cur_state; do sleep 0.2; done"
# What a runner is to the agent: a while of work, and a result.
RUNNER = """
import json, sys, time
job = json.load(open(sys.argv[1]))
samples, end = [], time.monotonic() + 2.5
while time.monotonic() < end:
    began = time.perf_counter()
    sum(range(20000))
    samples.append(int((time.perf_counter() - began) * 1e9))
json.dump({"model_ns": samples, "end_to_end_ns": [], "outputs": [], "answers": []},
          open(job["output"] + "/result.json", "w"))
"""


@pytest.fixture
def device(system_board):
    address = SshAddress(
        system_board.host,
        system_board.user,
        system_board.port,
        identity_file=system_board.identity_file,
        known_hosts=system_board.known_hosts,
    )
    with connect(address) as opened:
        yield opened


@pytest.fixture
def run(device, tmp_path):
    """Run the work on the board, watched; return the judgement without noise.

    How evenly an emulator runs is its host's affair, and no sign of throttling.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("__main__.py", RUNNER)
    source = tmp_path / "runner.pyz"
    source.write_bytes(packed.getvalue())
    sha256 = hashlib.sha256(packed.getvalue()).hexdigest()
    file = BundleFile("runner.pyz", sha256, source.stat().st_size, source)
    bundle = Bundle(
        name="work",
        engine="ncnn",
        precision="fp32",
        target="rk3566",
        architecture="aarch64",
        compatible=(),
        files=(file,),
        runtime=RuntimePack("none", "/usr/bin/python3", ()),
        job_json=json.dumps({}),
    )
    device.push(bundle.content)
    device.install(bundle)

    def once():
        watch = Watch(period_s=0.3)
        found = device.run(bundle.identity, RunRequest("time", (), watch=watch))
        before, *during, after = found.health
        return judge(before, during, after, ())

    return once


def test_throttling_in_mid_run_is_always_found_and_clean_runs_are_always_believed(run, as_root):
    # Heat comes once the work is under way, by a process of the board's own.
    heat = f"sh -c 'until pgrep -f [r]unner.pyz; do sleep 0.2; done; sleep 1; {HOT}'"
    for _ in range(REPEATS):
        clean = run()
        assert clean.reasons == ()
        as_root(f"nohup {heat} >/dev/null 2>&1 &")
        throttled = run()
        kinds = {reason.kind for reason in throttled.reasons}
        assert "throttled" in kinds
        assert throttled.cool_down_helps
        as_root(f"{COOL}; {UNTIL_COOL}")
