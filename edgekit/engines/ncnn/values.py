"""What each blob of a built model holds, under ncnn on the host. Runs inside the toolbox."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray


def values(
    folder: Path, inputs: "Mapping[str, NDArray[Any]]"
) -> "Iterator[tuple[str, NDArray[Any]]]":
    """Give every blob by its name, strictly in float32."""
    import ncnn
    import numpy as np

    blobs = json.loads((folder / "blobs.json").read_text(encoding="utf-8"))
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    if net.load_param(str(folder / "model.ncnn.param")) != 0:
        raise RuntimeError("ncnn cannot load the model's graph")
    if net.load_model(str(folder / "model.ncnn.bin")) != 0:
        raise RuntimeError("ncnn cannot load the model's weights")
    extractor = net.create_extractor()
    extractor.set_light_mode(False)  # it would forget a blob once its last reader has run
    alive = []  # ncnn.Mat(array) keeps no reference
    for blob in blobs["inputs"]:
        array = np.ascontiguousarray(inputs[blob["name"]], np.float32).reshape(blob["shape"])
        alive.append(array)
        extractor.input(blob["blob"], ncnn.Mat(array).clone())
    for blob in net.blobs():
        status, mat = extractor.extract(blob.name)
        if status != 0:
            raise RuntimeError(f"ncnn could not compute blob {blob.name}")
        yield blob.name, np.array(mat)
