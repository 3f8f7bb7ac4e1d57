"""A device that hangs behind a real SSH server, which goes on answering."""

import os
import signal
from contextlib import suppress

import pytest
from processes import running_below

from edgekit.app.kernel_lane import _back_off_s, _watched
from edgekit.core.errors import ConnectionLostError
from edgekit.device import connect


@pytest.fixture
def agent(sshd):
    """Return the process id of the one agent; end it afterwards, for stopped it ends by nothing."""
    found = []

    def find():
        found.extend(running_below(sshd.home / ".edgekit"))
        (pid,) = found
        return pid

    yield find
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.usefixtures("own_home")
def test_agent_that_hangs_behind_a_living_ssh_server_is_given_up(sshd, agent):
    with connect(sshd.address) as device:
        with _watched(device, 60) as heard:
            device.status()
            heard()
        os.kill(agent(), signal.SIGSTOP)
        with (
            pytest.raises(ConnectionLostError, match=r"said nothing for 0\.5 s"),
            _watched(device, 0.5),
        ):
            device.status()


def test_errors_of_a_device_that_answers_are_passed_on(sshd):
    with connect(sshd.address) as device, pytest.raises(KeyError), _watched(device, 60):
        raise KeyError("its own")


def test_back_off_grows_to_a_minute_and_no_further():
    waits = [_back_off_s(failures) for failures in (1, 2, 3, 6, 7, 8, 10_000)]
    assert waits == [1, 2, 4, 32, 60, 60, 60]
