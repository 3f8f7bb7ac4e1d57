"""A candidate that ends its compiler, or takes too long, is a failed candidate and no more."""

import sys

import pytest

from edgekit.engines.tvm.tune_processes import Processes

# Speaks as ``tune_process`` does: what is asked tells how it ends.
COMPILER = """
import base64, json, os, signal, sys, time
for line in sys.stdin:
    asked = json.loads(line)
    what = asked["module"]
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "exit":
        sys.exit(3)
    if what == "hang":
        time.sleep(600)
    code = base64.b64encode(f"{what} {os.getpid()}".encode()).decode()
    told = {"object": None if what == "wrong" else code, "error": "no loop" * (what == "wrong")}
    print(json.dumps(told), flush=True)
"""


@pytest.fixture
def compilers():
    made = []

    def start(count, limit_s=30.0):
        made.append(Processes([sys.executable, "-c", COMPILER], count, limit_s))
        return made[-1]

    yield start
    for each in made:
        each.close()


def compiled(processes, *modules):
    futures = [processes.submit(module, "target", "1") for module in modules]
    return [future.result(30) for future in futures]


def test_each_candidate_gets_its_own_answer(compilers):
    found = compiled(compilers(2), *map(str, range(20)))
    assert [code.split()[0] for code, _error in found] == [b"%d" % n for n in range(20)]
    assert len({code.split()[1] for code, _error in found}) <= 2


def test_candidate_that_cannot_be_built_says_why(compilers):
    assert compiled(compilers(1), "wrong") == [(None, "no loop")]


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("crash", "it ended its compiler with SIGSEGV"),
        ("exit", "it ended its compiler with status 3"),
    ],
)
def test_candidate_that_ends_its_compiler_costs_no_other(compilers, module, said):
    found = compiled(compilers(2), "a", module, "b", module, "c", "d")
    assert [error for _code, error in found] == ["", said, "", said, "", ""]


def test_candidate_that_takes_too_long_is_given_up(compilers):
    slow, fine = compiled(compilers(1, limit_s=1.0), "hang", "fine")
    assert slow == (None, "it was not compiled within 1 s")
    assert fine[0].startswith(b"fine")


def test_closing_ends_what_is_compiling(compilers):
    processes = compilers(1)
    future = processes.submit("hang", "target", "1")
    compiled_first = processes.submit("later", "target", "1")
    processes.close()
    assert future.result(30)[0] is None
    assert compiled_first.cancelled() or compiled_first.result(30)[0] is None
