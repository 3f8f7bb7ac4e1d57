"""Two deployments of one user judge int8 on this machine one after the other."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from edgekit.app.host_judge import HostJudge
from edgekit.core.bundle import Bundle, RuntimePack

WAITING = "waiting: another edgekit is working on int8 settings on this machine"


class Judging:
    """Stands in for the build and the run alone: the first goes on until a second waits."""

    def __init__(self):
        self.at_once, self.said = [], []
        self._now, self._told = [], threading.Event()

    def judged(self, judge, bundle, key):
        self._now.append(bundle)
        self.at_once.append(len(self._now))
        assert self._told.wait(60)
        self._now.remove(bundle)
        return judge._memory.keep({"drop": 0.25}, *key)

    def take(self, event):
        self.said.append(event.text)
        self._told.set()

    def drops(self, *bundles):
        with ThreadPoolExecutor(len(bundles)) as pool:
            return list(pool.map(self._drop, bundles))

    def _drop(self, of):
        with HostJudge(SimpleNamespace(emit=self.take), SimpleNamespace(identity="side")) as judge:
            return judge.drop(of, None, None)


@pytest.fixture
def judging(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    made = Judging()

    def judged(judge, bundle, key):
        return made.judged(judge, bundle, key)

    monkeypatch.setattr(HostJudge, "_judged", judged)
    monkeypatch.setattr(HostJudge, "_bundle", lambda _judge, lane, *_rest: lane)
    return made


def bundle(name):
    runtime = RuntimePack("runtime", "3.11", ())
    return Bundle(name, "ncnn", "int8", "local", "x86_64", (), (), runtime, "{}")


def test_second_deployment_waits_and_says_so(judging):
    assert judging.drops(bundle("first"), bundle("second")) == [0.25, 0.25]
    assert judging.at_once == [1, 1]
    assert judging.said == [WAITING]


def test_what_another_deployment_found_meanwhile_is_not_judged_again(judging):
    assert judging.drops(bundle("same"), bundle("same")) == [0.25, 0.25]
    assert judging.at_once == [1]
    assert judging.said == [WAITING]
