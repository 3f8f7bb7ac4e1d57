"""Runs a built model inside its engine's toolbox and tells what each of its tensors holds.

Started by ``edgekit.toolbox.twins``; standard library and NumPy only. The engine's ``values.py``
does the running, ``edgekit/onboard/figures.py`` the summing up.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any


def main() -> int:
    """Do what the job on the command line says; write ``values.json`` beside it."""
    import numpy as np

    path = Path(sys.argv[1])
    job = json.loads(path.read_text(encoding="utf-8"))
    module, summing = _load(Path(job["script"])), _load(Path(job["figures"]))
    with np.load(job["inputs"], allow_pickle=False) as loaded:
        inputs = {name: loaded[name] for name in loaded.files}
    found = {
        name: summing.figures(held) for name, held in module.values(Path(job["folder"]), inputs)
    }
    text = json.dumps({name: held for name, held in found.items() if held is not None})
    path.with_name("values.json").write_text(text, encoding="utf-8")
    return 0


def _load(script: Path) -> Any:  # noqa: ANN401 - a module
    # As a package of its own: it finds its neighbours.
    spec = importlib.util.spec_from_file_location(
        f"edgekit_{script.stem}", script, submodule_search_locations=[str(script.parent)]
    )
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{script} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
