"""Tests that share something are really run by one process."""

import re
import subprocess
import sys
from collections import defaultdict

import pytest
from side_by_side import BOARD, MACHINE, rank_of, scope_of


def test_files_with_tests_of_boards_are_one_scope():
    for file in ("tests/board/test_board_live.py", "tests/deploy/test_deploy_virtual.py"):
        assert scope_of(file) == BOARD
    for file in ("tests/board/test_system_board_live.py", "tests/app/test_flash_and_update.py"):
        assert scope_of(file) == MACHINE
    assert scope_of("tests/board/test_board_state.py") == "tests/board/test_board_state.py"


def test_what_takes_minutes_comes_first():
    files = (
        "tests/catalog/test_targets.py",
        "tests/engines/test_tvm_cluster.py",
        MACHINE,
        BOARD,
    )
    ranks = [rank_of(scope) for scope in files]
    assert ranks == sorted(set(ranks), reverse=True)


@pytest.mark.slow
def test_a_files_tests_are_run_by_one_process(root):
    files = ["tests/catalog/test_targets.py", "tests/catalog/test_settings.py"]
    options = ["--numprocesses", "2", "-v", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, *files]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    processes = defaultdict(set)
    for process, file in re.findall(r"^\[(gw\d)\] .* PASSED (\S+?)::", done.stdout, re.MULTILINE):
        processes[file].add(process)
    assert sorted(processes) == sorted(files)
    # Two processes and two scopes: each has one.
    assert all(len(each) == 1 for each in processes.values())
    assert processes[files[0]] != processes[files[1]]
