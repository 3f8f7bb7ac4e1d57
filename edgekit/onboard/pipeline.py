"""A job's steps, fitted to what the engine takes and gives."""

from typing import Any, Callable, Dict, Mapping, Optional

from edgekit.onboard import steps
from edgekit.onboard.arrays import Form, Postprocess, Preprocess, Quantised, Tensors, to_form
from edgekit.onboard.faults import RunFailedError
from edgekit.onboard.steps.geometry import Fit, read_fit
from edgekit.onboard.steps.parameters import Parameters

Outputs = Dict[str, Any]  # an array or a Quantised for each name


def make_preprocess(
    description: Mapping[str, Any], forms: Optional[Mapping[str, Form]] = None
) -> Preprocess:
    """Make the step that feeds the engine, every input in the form that the engine wants.

    Args:
        description: ``name`` and ``parameters`` of the job's step.
        forms: by input; one that is not named is ``float32`` in the model's own order.

    Raises:
        RunFailedError: there is no such step.
        ValueError: its parameters are wrong.
    """
    parameters = dict(description.get("parameters") or {})
    left = dict(forms or {})
    if description["name"] in steps.IMAGE_STEPS:
        name = parameters.get("input", steps.IMAGE_INPUT)
        # A frame fed channels last is the model's own order already, and moves as any tensor.
        if name in left and parameters.get("layout", "NCHW") == "NCHW":
            parameters.update(_as_parameters(left.pop(name)))
    step: Preprocess = _make(steps.PREPROCESS, description["name"], parameters)
    if not left:
        return step

    def run(frame: Any) -> Tensors:
        return {
            name: to_form(array, left[name]) if name in left else array
            for name, array in step(frame).items()
        }

    return run


def _as_parameters(form: Form) -> Dict[str, Any]:
    parameters = {"layout": form.layout}  # type: Dict[str, Any]
    if form.scale is not None:
        parameters["quantise"] = {
            "dtype": form.dtype,
            "scale": float(form.scale),
            "zero_point": int(form.zero_point),
        }
    return parameters


def fit_of(description: Mapping[str, Any]) -> Optional[Fit]:
    """Return how a job's preprocess step fits frames into the input; ``None`` where it sees none.

    Raises:
        ValueError: its parameters are wrong.
    """
    name = description["name"]
    if name not in steps.IMAGE_STEPS:
        return None
    default = "letterbox" if name == "letterbox" else "stretch"
    return read_fit(Parameters(name, dict(description.get("parameters") or {})), default)


def make_postprocess(
    description: Mapping[str, Any], overrides: Optional[Mapping[str, Any]] = None
) -> Postprocess:
    """Make the step that reads the engine's outputs, whatever form they have.

    Args:
        description: ``name`` and ``parameters`` of the job's step.
        overrides: parameters that hold instead of the job's own.

    Raises:
        RunFailedError: there is no such step.
        ValueError: its parameters are wrong.
    """
    parameters = dict(description.get("parameters") or {})
    parameters.update(overrides or {})
    step: Postprocess = _make(steps.POSTPROCESS, description["name"], parameters)
    if description["name"] in steps.TAKES_QUANTISED:
        return step
    return lambda outputs, frame_shape: step(as_floats(outputs), frame_shape)


def as_floats(outputs: Outputs) -> Tensors:
    """Outputs by name, those that are quantised as ``float32`` in the model's own order."""
    return {
        name: value.to_float() if isinstance(value, Quantised) else value
        for name, value in outputs.items()
    }


def _make(table: Mapping[str, Callable[..., Any]], name: str, parameters: Mapping[str, Any]) -> Any:
    if name not in table:
        raise RunFailedError(
            "this runner has no step named %s (it has: %s)" % (name, ", ".join(sorted(table)))
        )
    return table[name](parameters)
