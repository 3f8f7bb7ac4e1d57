"""What ``edgekit bench`` refuses before anything is built or asked of a device."""

import pytest

from edgekit.cli.main import run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-e", "ncnn", "--threads", "1"], "--engine, --threads: without MODEL, what is active"),
        (["-p", "int8", "--size", "320"], "--precision, --size: without MODEL, what is active"),
        (["shapes", "--scope", "VIN"], "'VIN' is not RAIL=SCOPE"),
        (["shapes", "--scope", "VIN=bord"], "'VIN=bord' is not RAIL=SCOPE"),
        (["shapes", "--scope", "=board"], "'=board' is not RAIL=SCOPE"),
        (["shapes", "--meter", "command:/no/meter"], "'/no/meter' is not there or cannot be run"),
        (["shapes", "--soak", "3s"], "a soak of 3 s has no course: it takes at least 5 s"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, said, capsys):
    assert run(["bench", *arguments, "--target", "local"]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "Connect" not in told
