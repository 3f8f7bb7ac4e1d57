"""A job of kind ``camera``: its bundles, loaded, are what one line may switch between."""

import os
from typing import Any, Callable, Dict, Mapping

from edgekit.onboard.arrays import Postprocess, Preprocess
from edgekit.onboard.camera.run import run_camera
from edgekit.onboard.camera.variant import Variant
from edgekit.onboard.pipeline import fit_of, make_postprocess, make_preprocess

# Takes a bundle's table of the job and its knobs; gives the engine's session.
Load = Callable[[Mapping[str, Any], Mapping[str, Any]], Any]


def run_job(job: Mapping[str, Any], first: Variant, load: Load, threads: int) -> Dict[str, Any]:
    """Load what may take over, and run the pipeline to its end.

    Args:
        job: as the agent wrote it.
        first: the bundle of the job itself.
        load: loads another bundle's model.
        threads: of a bundle whose knobs do not say how many.

    Returns:
        What ``result.json`` tells of it.

    Raises:
        RunFailedError: a model cannot be loaded, or the pipeline cannot be as it is wanted.
    """
    # The stages are the threads here. OpenCV's own spin while they wait for work: between frames
    # that is a tenth of a core, taken from the stages. Read when OpenCV is first used.
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    lighter = [_lighter(each, load, threads) for each in job.get("lighter") or ()]
    return run_camera(job["pipeline"], [first, *lighter], job["output"])


def variant_of(
    table: Mapping[str, Any], session: Any, preprocess: Preprocess, postprocess: Postprocess
) -> Variant:
    """Put a loaded model and its steps together, as its table describes them."""
    steps, name = table["job"], str(table.get("bundle", ""))
    fit = fit_of(steps["preprocess"])
    return Variant(session, preprocess, postprocess, steps["inputs"], name, fit)


def _lighter(table: Mapping[str, Any], load: Load, threads: int) -> Variant:
    knobs = dict(table.get("knobs") or {})
    knobs["threads"] = int(knobs.get("threads") or threads)
    session = load(table, knobs)
    steps = table["job"]
    return variant_of(
        table,
        session,
        make_preprocess(steps["preprocess"], getattr(session, "input_forms", None)),
        make_postprocess(steps["postprocess"]),
    )
