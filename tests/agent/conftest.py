"""No deadlines: this machine may be busy with something else."""

import pytest
from hypothesis import settings
from sampler_loops import Loop, compiled_to_be_played

from device_agent.power.rail import Rail

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def played_library(tmp_path_factory):
    """The sampler's loop in C, which can be played to."""
    return compiled_to_be_played(tmp_path_factory.mktemp("sampler"))


@pytest.fixture(params=["python", "c"])
def loop(request, monkeypatch):
    """Each of the sampler's loops in turn."""
    library = request.getfixturevalue("played_library") if request.param == "c" else None
    made = Loop(request.param, library, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def rail(tmp_path):
    """A rail that reads the file ``power``."""
    (tmp_path / "power").write_text("3125000\n")
    made = Rail("hwmon", "ina226 0-0040", "VIN").reads([str(tmp_path / "power")])
    made.open()
    yield made
    made.close()
