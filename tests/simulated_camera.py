"""A camera pipeline made up second by second, in the events that a real one tells.

No device and no time passes: what it says is arithmetic from a seed, so that tests of the live
page know what the page must show. Its pictures are drawn scenes with their true boxes, made into
previews by the code that runs on the board.
"""

import numpy as np

from edgekit.onboard.camera.preview import Preview
from edgekit.prepare.shapes import CLASSES, draw_scene

SECOND_NS = 10**9
CAMERA_FPS = 30
WORK_MS = {"decode": 2.6, "preprocess": 4.1, "inference": 46.0, "postprocess": 3.4, "sink": 1.2}

__all__ = ["CLASSES", "SimulatedCamera"]


class SimulatedCamera:
    """Frames at 30 a second before an inference that takes 46 ms; the queue before it drops."""

    def __init__(self, seed=5, height=360, width=640):
        self._random = np.random.RandomState(seed)
        self._seed, self._size = seed, (height, width)
        self._previews = Preview(30, 480)
        self.at_ns = 7_000 * SECOND_NS
        self.captured = self.delivered = self.lost = 0
        self.dropped = {"inference": {"latest": 0}}

    def second(self, **changes):
        """What the next second tells; ``changes`` are put over it."""
        slowness = self._random.uniform(0.96, 1.08)
        work = {name: ms * slowness for name, ms in WORK_MS.items()}
        delivered = int(1000 / work["inference"])
        self.at_ns += SECOND_NS
        self.captured += CAMERA_FPS
        self.delivered += delivered
        self.dropped["inference"]["latest"] += CAMERA_FPS - delivered
        rates = dict.fromkeys(("decode", "preprocess"), CAMERA_FPS)
        stages = {
            name: {
                "busy": round(min(1.0, ms * rates.get(name, delivered) / 1000), 4),
                "ms": round(ms, 4),
                "depth": int(name == "inference"),
            }
            for name, ms in work.items()
        }
        told = {
            "event": "camera",
            "phase": "second",
            "at_ns": self.at_ns,
            "captured": self.captured,
            "delivered": self.delivered,
            "lost": self.lost,
            "dropped": {stage: dict(causes) for stage, causes in self.dropped.items()},
            "fps": float(delivered),
            "latency_ms": round(sum(work.values()) + self._random.uniform(5, 25), 3),
            "stages": stages,
            "bundle": 0,
            "away": "",
        }
        return {**told, **changes}

    def away_second(self, why):
        """What the next second tells if the source is gone for all of it."""
        totals = (self.captured, self.delivered, self.dropped["inference"]["latest"])
        idle = {name: {"busy": 0.0, "ms": None, "depth": 0} for name in WORK_MS}
        told = self.second(fps=0.0, latency_ms=None, stages=idle, away=why)
        self.captured, self.delivered, self.dropped["inference"]["latest"] = totals
        dropped = {stage: dict(causes) for stage, causes in self.dropped.items()}
        return {**told, "captured": totals[0], "delivered": totals[1], "dropped": dropped}

    def preview(self, number=None, index=0):
        """A drawn scene with its true boxes."""
        height, width = self._size
        scene = draw_scene(self._seed, index, height=height, width=width)
        answers = [
            [*map(float, box), 0.9, float(kind)]
            for box, kind in zip(scene.boxes, scene.classes, strict=True)
        ]
        shown = self.captured if number is None else number
        return self._previews.event(shown, scene.frame, answers, self.at_ns)

    def power(self):
        """What the agent's sensors say."""
        return {
            "phase": "power",
            "watts": round(self._random.uniform(3.9, 4.4), 3),
            "temperature_c": round(self._random.uniform(58, 61), 1),
        }
