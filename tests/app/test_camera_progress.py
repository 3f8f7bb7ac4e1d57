"""What is told of a pipeline while it runs."""

import pytest

from edgekit.app.camera_progress import Progress, board_watts
from edgekit.core.events import Note

INA3221 = {"source": "hwmon", "sensor": "ina3221 1-0040"}


@pytest.mark.parametrize(
    ("rails", "watts"),
    [
        ([], None),
        ([{"label": "VDD_IN", "scope": "board", "within": None, "mw": 5000},
          {"label": "CPU", "scope": "rail", "within": "VDD_IN", "mw": 2000}], 5.0),
        ([{"label": "plug", "scope": "wall", "within": None, "mw": 7000},
          {"label": "CPU", "scope": "rail", "within": None, "mw": 2000}], 7.0),
        ([{"label": "CPU", "scope": "rail", "within": None, "mw": 2000, **INA3221},
          {"label": "GPU", "scope": "rail", "within": None, "mw": 1500, **INA3221},
          {"label": "core0", "scope": "rail", "within": "CPU", "mw": 900, **INA3221}], 3.5),
        ([{"label": "CPU", "scope": "rail", "within": None, "mw": 2000, **INA3221},
          {"label": "5V", "scope": "rail", "within": None, "mw": 3000,
           "source": "hwmon", "sensor": "ina226 1-0041"}], None),
    ],
)  # fmt: skip
def test_watts_are_the_boards_where_it_has_a_sensor_of_all(rails, watts):
    assert board_watts(rails) == watts


def test_source_that_goes_and_comes_back_is_told_once_each():
    notes = []

    class Subject:
        labels = ("ncnn fp32", "ncnn int8")

        class device:  # noqa: N801 - stands for an attribute
            class facts:  # noqa: N801
                emulated = False

    progress = Progress(notes.append, Subject)
    second = {
        "event": "camera", "phase": "second", "delivered": 5, "lost": 1, "fps": 4.0,
        "latency_ms": None, "dropped": {"decode": {"latest": 3}}, "bundle": 0, "away": "",
    }  # fmt: skip
    for change in ({}, {"away": "unplugged"}, {"away": "unplugged"}, {}, {"bundle": 1}):
        progress.hear({**second, **change})
    assert [note.text for note in notes if isinstance(note, Note)] == [
        "the source is gone: unplugged; waiting for it", "the source is back", "now with ncnn int8",
    ]  # fmt: skip
    assert notes[0].unit == "frames, 4.0 fps, 3 dropped, 1 lost"
