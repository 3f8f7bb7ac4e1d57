"""Train the ``shapes`` detector on drawn scenes and export it to ONNX.

Run from the repository's root, with torch, NumPy and onnx at hand::

    PYTHONPATH=. python recipes/shapes/train.py --output /tmp/shapes.onnx
"""

import argparse
import copy
import math
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from loss import loss
from network import Shapes
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.onboard.steps.geometry import Fit, place
from edgekit.onboard.steps.images import bilinear
from edgekit.prepare.shapes import CLASSES, Scene, draw_scene

SIZE = 160
TRAINING_SEED = 1  # held-out scenes have other seeds
PAD = 114
REPORT_EVERY = 100  # steps


def main() -> None:
    """Train, average, fuse, export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=0.002)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    torch.manual_seed(0)
    # Layers as narrow as these lose more by waiting for each other than a second thread gains.
    torch.set_num_threads(1)
    frames, labels = draw_training_set(options.scenes)
    model = train(frames, labels, options)
    export(model, options.output)


def draw_training_set(count: int) -> tuple[NDArray[np.uint8], list[NDArray[np.float32]]]:
    """Frames ``uint8[N, 3, SIZE, SIZE]`` and for each its ``float32[M, 5]`` (class, box)."""
    started = time.monotonic()
    frames = np.full((count, 3, SIZE, SIZE), PAD, np.uint8)
    labels = []
    random = np.random.RandomState(TRAINING_SEED)
    for index in range(count):
        # Many aspects, and twice the size at times: as letterboxed frames look in use.
        long, factor = random.randint(90, SIZE + 1), random.randint(1, 3)
        height, width = (SIZE, long) if random.randint(2) else (long, SIZE)
        scene = draw_scene(TRAINING_SEED, index, height=height * factor, width=width * factor)
        labels.append(fit_scene(scene, frames[index]))
    print(f"{count} scenes drawn in {time.monotonic() - started:.0f} s", flush=True)
    return frames, labels


def fit_scene(scene: Scene, canvas: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Letterbox a scene into ``canvas`` as at inference; the answer is its labels there."""
    placement = place(Fit("letterbox", SIZE, SIZE, upscale=True, crop_ratio=1.0), scene.frame.shape)
    rows = slice(placement.top, placement.top + placement.height)
    columns = slice(placement.left, placement.left + placement.width)
    for channel in range(3):
        resized = bilinear(scene.frame[..., channel], placement.height, placement.width)
        canvas[channel, rows, columns] = np.rint(resized)
    gain = np.array([placement.gain_x, placement.gain_y] * 2, np.float32)
    boxes = scene.boxes * gain + np.array([placement.left, placement.top] * 2, np.float32)
    return np.concatenate([scene.classes[:, None].astype(np.float32), boxes], axis=1)


def make_batch(
    frames: NDArray[np.uint8], labels: list[NDArray[np.float32]], picks: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Frames ``float32[B, 3, SIZE, SIZE]`` and targets ``float32[M, 6]``, turned at random."""
    images, targets = [], []
    for place_in_batch, index in enumerate(picks):
        image, label = frames[index], labels[index].copy()
        turn = np.random.randint(8)
        if turn & 1:  # mirror left to right
            image = image[:, :, ::-1]
            label[:, [1, 3]] = SIZE - label[:, [3, 1]]
        if turn & 2:  # mirror top to bottom
            image = image[:, ::-1]
            label[:, [2, 4]] = SIZE - label[:, [4, 2]]
        if turn & 4:  # mirror on the diagonal
            image = image.transpose(0, 2, 1)
            label[:, 1:] = label[:, [2, 1, 4, 3]]
        image = image[np.random.permutation(3)]  # colours mean nothing here
        centre, size = (label[:, 1:3] + label[:, 3:]) / 2, label[:, 3:] - label[:, 1:3]
        number = np.full((len(label), 1), place_in_batch, np.float32)
        targets.append(np.concatenate([number, label[:, :1], centre, size], axis=1))
        images.append(image)
    batch = torch.from_numpy(np.stack(images)).float() / 255
    return batch.contiguous(memory_format=torch.channels_last), torch.from_numpy(
        np.concatenate(targets)
    )


def train(
    frames: NDArray[np.uint8], labels: list[NDArray[np.float32]], options: argparse.Namespace
) -> nn.Module:
    """Train for ``options.steps`` and return the moving average of the weights."""
    np.random.seed(0)
    model = Shapes(len(CLASSES)).to(memory_format=torch.channels_last)
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    average = copy.deepcopy(model).eval()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
        lr=options.rate,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, (step + 1) / 200) * _cosine(step / options.steps)
    )
    started = time.monotonic()
    running = 0.0
    for step in range(options.steps):
        picks = np.random.randint(0, len(frames), options.batch)
        batch, targets = make_batch(frames, labels, picks)
        value = loss(model.raw(batch), targets, len(CLASSES))
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        schedule.step()
        _follow(average, model, min(0.998, (1 + step) / (10 + step)))
        running += value.item()
        if (step + 1) % REPORT_EVERY == 0:
            spent = time.monotonic() - started
            mean = running / REPORT_EVERY
            print(f"step {step + 1}: loss {mean:.4f}, {spent:.0f} s", flush=True)
            running = 0.0
            torch.save(average.state_dict(), options.output.with_suffix(".pt"))
    return average


def _cosine(done: float) -> float:
    return 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, keep: float) -> None:
    for mean, now in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.mul_(keep).add_(now, alpha=1 - keep)


def export(model: nn.Module, output: Path) -> None:
    """Write ``output``: float32, opset 17, ``images`` to ``output0``, class names as YOLOv5's."""
    model.eval()
    model.fuse()
    torch.onnx.export(
        model,
        (torch.zeros(1, 3, SIZE, SIZE),),
        str(output),
        input_names=["images"],
        output_names=["output0"],
        opset_version=17,
        dynamo=False,
    )
    proto = onnx.load(str(output))
    onnx.helper.set_model_props(proto, {"stride": "32", "names": str(dict(enumerate(CLASSES)))})
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, str(output))
    print(f"{output}: {output.stat().st_size} bytes", flush=True)


if __name__ == "__main__":
    main()
