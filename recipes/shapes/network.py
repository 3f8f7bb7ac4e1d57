"""A YOLOv5 of about 0.3 million parameters: the same blocks and head, fewer channels.

Source of the layout: https://github.com/ultralytics/yolov5/blob/v7.0/models/yolov5n.yaml and
models/common.py; written anew here.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (8, 16, 32)
# Pixels of the network's input, width and height; the drawn shapes are nearly as wide as high.
ANCHORS = (
    ((12.0, 12.0), (18.0, 18.0), (26.0, 26.0)),
    ((34.0, 34.0), (46.0, 40.0), (40.0, 46.0)),
    ((58.0, 58.0), (76.0, 68.0), (86.0, 90.0)),
)


class Conv(nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        padding = 2 if kernel == 6 else kernel // 2  # noqa: PLR2004 - YOLOv5's 6x6 stem
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)

    def forward(self, x: Tensor) -> Tensor:
        """``float32[N, C, H, W]`` to the same with the block's channels and stride."""
        return functional.silu(self.norm(self.conv(x)))

    def fuse(self) -> None:
        """Fold the batch norm into the convolution."""
        self.conv = nn.utils.fusion.fuse_conv_bn_eval(self.conv, self.norm)
        self.norm = nn.Identity()


class Bottleneck(nn.Module):
    """Two convolutions, with a way past them where ``shortcut``."""

    def __init__(self, channels: int, *, shortcut: bool) -> None:
        super().__init__()
        self.first, self.second = Conv(channels, channels), Conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        y = self.second(self.first(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    """A cross-stage block with one bottleneck."""

    def __init__(self, inputs: int, outputs: int, *, shortcut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.left, self.right = Conv(inputs, half), Conv(inputs, half)
        self.inner = Bottleneck(half, shortcut=shortcut)
        self.join = Conv(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Keep height and width."""
        return self.join(torch.cat((self.inner(self.left(x)), self.right(x)), 1))


class Pyramid(nn.Module):
    """SPPF: three poolings in a row see what one large pooling would."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.enter, self.leave = Conv(channels, half), Conv(half * 4, channels)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        first = self.enter(x)
        second = self.pool(first)
        third = self.pool(second)
        return self.leave(torch.cat((first, second, third, self.pool(third)), 1))


class Shapes(nn.Module):
    """The detector: backbone, path aggregation, three heads."""

    def __init__(self, classes: int, widths: tuple[int, ...] = (8, 16, 32, 64, 96)) -> None:
        super().__init__()
        w1, w2, w3, w4, w5 = widths
        self.columns = 5 + classes
        self.stem = nn.Sequential(Conv(3, w1, 6, 2), Conv(w1, w2, 3, 2), C3(w2, w2))
        self.to_p3 = nn.Sequential(Conv(w2, w3, 3, 2), C3(w3, w3))
        self.to_p4 = nn.Sequential(Conv(w3, w4, 3, 2), C3(w4, w4))
        self.to_p5 = nn.Sequential(Conv(w4, w5, 3, 2), C3(w5, w5), Pyramid(w5))
        self.narrow5, self.up4 = Conv(w5, w4), C3(2 * w4, w4, shortcut=False)
        self.narrow4, self.up3 = Conv(w4, w3), C3(2 * w3, w3, shortcut=False)
        self.down4, self.out4 = Conv(w3, w3, 3, 2), C3(2 * w3, w4, shortcut=False)
        self.down5, self.out5 = Conv(w4, w4, 3, 2), C3(2 * w4, w5, shortcut=False)
        self.heads = nn.ModuleList(nn.Conv2d(w, 3 * self.columns, 1) for w in (w3, w4, w5))
        self._start_biases(classes)

    def _start_biases(self, classes: int) -> None:
        # As YOLOv5 begins: few objects per frame, all classes alike.
        for head, stride in zip(self.heads, STRIDES, strict=True):
            bias = head.bias.detach().view(3, -1)
            bias[:, 4] += torch.log(torch.tensor(4 / (160 / stride) ** 2))
            bias[:, 5:] += torch.log(torch.tensor(0.6 / (classes - 0.99)))

    def raw(self, x: Tensor) -> list[Tensor]:
        """The three heads ``float32[N, 3 * (5 + C), H / stride, W / stride]``."""
        p3 = self.to_p3(self.stem(x))
        p4 = self.to_p4(p3)
        n5 = self.narrow5(self.to_p5(p4))
        up = functional.interpolate(n5, scale_factor=2.0, mode="nearest")
        n4 = self.narrow4(self.up4(torch.cat((up, p4), 1)))
        up = functional.interpolate(n4, scale_factor=2.0, mode="nearest")
        f3 = self.up3(torch.cat((up, p3), 1))
        f4 = self.out4(torch.cat((self.down4(f3), n4), 1))
        f5 = self.out5(torch.cat((self.down5(f4), n5), 1))
        return [head(f) for head, f in zip(self.heads, (f3, f4, f5), strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        """Frames ``float32[N, 3, H, W]`` in 0..1 to decoded rows ``float32[N, rows, 5 + C]``."""
        decoded = []
        for raw, stride, anchors in zip(self.raw(x), STRIDES, ANCHORS, strict=True):
            count, _, high, wide = raw.shape
            cells = raw.view(count, 3, self.columns, high, wide).permute(0, 1, 3, 4, 2)
            xy, wh, rest = cells.sigmoid().split((2, 2, self.columns - 4), 4)
            xy = (xy * 2 + (grid(high, wide) - 0.5)) * stride
            wh = (wh * 2) ** 2 * torch.tensor(anchors).view(1, 3, 1, 1, 2)
            decoded.append(torch.cat((xy, wh, rest), 4).view(count, -1, self.columns))
        return torch.cat(decoded, 1)

    def fuse(self) -> None:
        """Fold every batch norm; for the export only."""
        for module in self.modules():
            if isinstance(module, Conv):
                module.fuse()


def grid(high: int, wide: int) -> Tensor:
    """Cell corners ``float32[1, 1, high, wide, 2]`` as x, y."""
    # Through NumPy, so that the export holds one constant and not the nodes that make it.
    rows, columns = np.mgrid[0 : int(high), 0 : int(wide)].astype(np.float32)
    return torch.from_numpy(np.stack((columns, rows), 2)[None, None])
