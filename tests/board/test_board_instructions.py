"""Instructions counted: real programs of real boards, the real plugin in the real emulator."""

import subprocess
from dataclasses import asdict
from shutil import which

import pytest
from arm_program import LOOP, LOOP_ROUNDS, SDOT

from edgekit.board import user_mode
from edgekit.board.counts import InstructionCount, MemoryAccesses, per_round
from edgekit.board.instructions import count
from edgekit.board.requirements import counting_requirement
from edgekit.core.errors import DeviceError, UsageError

pytestmark = [pytest.mark.board, pytest.mark.slow]


@pytest.fixture
def bring_counting(bring_up):
    """Bring up a board, where this host can count on it."""
    if not counting_requirement().present:
        pytest.skip("counting needs on this host: qemu-user")
    if which("cc") is None:
        pytest.skip("counting needs a C compiler on this host")
    return bring_up


def counted(board, *command, **options):
    return count(board, command, compiler=lambda: ("cc",), **options)


def put(board, name, program):
    """Write a program to the board by its own sshd."""
    subprocess.run(
        [*user_mode.ssh_command(board.name), f"cat > ~/{name} && chmod +x ~/{name}"],
        input=program,
        timeout=120,
        check=True,
    )
    return f"/home/{board.user}/{name}"


def test_loop_costs_what_its_instructions_are(bring_counting):
    board = bring_counting("rk3566")
    loop = put(board, "loop", LOOP)
    one, four = (counted(board, loop, *["x"] * more, memory=True) for more in (0, 3))
    # Three words before the loop, five in it, three after it; of the first one loads.
    assert one.instructions == 6 + 5 * LOOP_ROUNDS
    assert one.memory == 1 + 2 * LOOP_ROUNDS
    assert per_round(one, four, 3 * LOOP_ROUNDS) == InstructionCount(
        instructions=5,
        simd_fp=1,
        branches=1,
        memory=2,
        accesses=MemoryAccesses(loads=1, stores=1, loaded_bytes=8, stored_bytes=8),
    )
    assert four.instructions - one.instructions == 5 * 3 * LOOP_ROUNDS
    # Whether accesses are counted as well changes nothing in the rest.
    plain = counted(board, loop)
    assert plain == InstructionCount(**{**asdict(one), "accesses": None})


def test_two_runs_of_an_interpreter_count_the_same(bring_counting):
    board = bring_counting("rk3566")
    script = "print(sorted({str(n): hash(str(n)) for n in range(300)}.items(), key=id))"
    first, second = (counted(board, "python3", "-c", script) for _ in range(2))
    assert first == second
    assert first.instructions > 10_000_000
    assert first.uncounted_programs == 0


def test_threads_and_forked_processes_are_summed(bring_counting):
    board = bring_counting("rk3566")
    work = "import os, sys, threading\nwork = lambda: sum(range(400_000))\n"
    scripts = {
        "threads": "some = [threading.Thread(target=work) for _ in range(N)]\n"
        "[each.start() for each in some]\n[each.join() for each in some]\n",
        "processes": "for _ in range(N):\n"
        "    child = os.fork()\n"
        "    if not child:\n        work()\n        os._exit(0)\n"
        "    os.waitpid(child, 0)\n",
    }
    alone = counted(board, "python3", "-c", f"{work}work()\nwork()")
    none = counted(board, "python3", "-c", work)
    twice = alone.instructions - none.instructions
    for kind, script in scripts.items():
        shared = counted(board, "python3", "-c", f"{work}N = 2\n{script}")
        # Starting them is not free, but little beside what they do.
        ratio = (shared.instructions - none.instructions) / twice
        assert 0.98 < ratio < 1.25, kind


def test_program_started_by_another_is_told_and_not_counted(bring_counting):
    board = bring_counting("rk3566")
    script = "import subprocess; subprocess.run(['/bin/true']); subprocess.run(['/bin/false'])"
    assert counted(board, "python3", "-c", script).uncounted_programs == 2
    with pytest.raises(DeviceError, match="became another program"):
        counted(board, "sh", "-c", "exec true")


def test_program_sees_the_board_and_the_environment_it_was_given(bring_counting):
    board = bring_counting("rk3566")
    script = (
        "import os, platform, socket, sys\n"
        f"assert (os.getcwd(), os.getuid()) == ('/home/{board.user}', 1000)\n"
        f"assert (platform.machine(), socket.gethostname()) == ('aarch64', '{board.name}')\n"
        "assert os.environ['GREETING'] == 'good day' and os.environ['LD_LIBRARY_PATH'] == '/x'\n"
        "assert os.path.exists('/etc/edgekit/virtual-board.json') and os.getppid() >= 0\n"
        "assert sys.argv[1:] == ['a b', '', '$HOME']"
    )
    environment = {"GREETING": "good day", "LD_LIBRARY_PATH": "/x"}
    command = ("python3", "-c", script, "a b", "", "$HOME")
    assert counted(board, *command, environment=environment).instructions > 0
    # What was mounted for it is gone, and it left nothing behind.
    ls = ["ls", "-A", "/run/edgekit-count/kit", "/run/edgekit-count/out"]
    said = subprocess.check_output([*user_mode.ssh_command(board.name), *ls], text=True)
    assert said.split() == [f"{ls[2]}:", f"{ls[3]}:"]
    assert not list(board.folder.glob(".count-*"))


def test_program_that_dies_or_fails_is_an_error(bring_counting):
    board = bring_counting("rk3399")
    with pytest.raises(DeviceError, match="ended by SIGILL"):
        counted(board, put(board, "sdot", SDOT))
    with pytest.raises(DeviceError, match="failed with status 3"):
        counted(board, "python3", "-c", "raise SystemExit(3)")
    with pytest.raises(DeviceError, match="nonesuch: not found on the board"):
        counted(board, "nonesuch")
    script = put(board, "script", b"#!/bin/sh\n")
    with pytest.raises(DeviceError, match="did not start") as raised:
        counted(board, script)
    assert "interpreter" in raised.value.hint


def test_program_that_does_not_end_is_ended(bring_counting):
    board = bring_counting("rk3566")
    with pytest.raises(DeviceError, match="within 2 s"):
        counted(board, "python3", "-c", "import os, time; os.fork(); time.sleep(1234)", timeout_s=2)
    listed = subprocess.check_output(["ps", "-eo", "args"], text=True)
    assert "time.sleep(1234)" not in listed


def test_32_bit_program_has_no_groups(bring_counting):
    board = bring_counting("rpi3-32")
    true = counted(board, "true", memory=True)
    assert true == counted(board, "true", memory=True)
    assert true.instructions > true.accesses.loads > 0
    assert (true.simd_fp, true.branches, true.memory) == (None, None, None)
    with pytest.raises(UsageError, match="are not those of"):
        per_round(true, true, 0)
