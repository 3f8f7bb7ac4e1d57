"""The one tree of errors.

::

    EdgekitError               exit code 1 (a bug, unless a subclass says otherwise)
    +-- UsageError             2   what the user asked for cannot be meant
    |   +-- UnknownNameError   2   no such target, recipe, device, engine
    |   +-- CatalogError       2   a TOML file is wrong (all faults at once)
    |   +-- ModelError         2   the model cannot be used as it is
    |   +-- FetchError         2   a model file is not to be had, or is not the one promised
    +-- DeviceError            3   something on, or on the way to, the device
    |   +-- UnreachableError   3
    |   +-- HostKeyError       3   unknown or changed host key
    |   +-- AuthenticationError 3
    |   +-- NoPythonError      3
    |   +-- WrongDeviceError   3   the board is not what the target says
    |   +-- DiskFullError      3
    |   +-- ConnectionLostError 3
    |   +-- AgentError         3   the agent answered with a fault of its own
    +-- FlashError             3   an image was not written, or not as it is
    +-- EngineError            4   an engine's toolbox, build or runner failed
    |   +-- ToolboxError       4
    |   +-- BuildError         4
    |   +-- RunnerError        4
    +-- GoalMissedError        5   nothing passed the gate or met the goal
    +-- MeasurementInvalidError 6
    +-- RolledBackError        7   the new deployment failed; the former one is active again

A message says what failed and on what; ``hint`` says what to do next.
"""

from typing import ClassVar


class EdgekitError(Exception):
    """Root of every error that edgekit raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(EdgekitError):
    """What the user asked for cannot be meant."""

    exit_code = 2


class UnknownNameError(UsageError):
    """No target, recipe, device or engine has this name."""


class CatalogError(UsageError):
    """A TOML file is wrong; the message holds every fault with file and line."""


class ModelError(UsageError):
    """The model cannot be used as it is: not ONNX, truncated, dynamic without a size."""


class FetchError(UsageError):
    """A model file is not to be had, or is not the one that was promised."""


class DeviceError(EdgekitError):
    """Something failed on the device or on the way to it."""

    exit_code = 3


class UnreachableError(DeviceError):
    """The host does not answer."""


class HostKeyError(DeviceError):
    """The host key is unknown, or is not the one known."""


class AuthenticationError(DeviceError):
    """The host refused every key that was offered."""


class NoPythonError(DeviceError):
    """The device has no Python that the agent can run on."""


class WrongDeviceError(DeviceError):
    """The device is not what the target says."""


class DiskFullError(DeviceError):
    """The device has no room for what must be written."""


class ConnectionLostError(DeviceError):
    """The device was lost in mid-work; the next call resumes."""


class AgentError(DeviceError):
    """The agent answered with a fault.

    Attributes:
        code: the agent's own word for the fault, as in ``device_agent.protocol``.
    """

    def __init__(self, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class FlashError(EdgekitError):
    """An image, a disk or a flashing tool failed, or must not be used as asked."""

    exit_code = 3


class EngineError(EdgekitError):
    """An engine's toolbox, build or runner failed."""

    exit_code = 4


class ToolboxError(EngineError):
    """The isolated environment of an engine could not be made."""


class BuildError(EngineError):
    """The engine could not turn the model into its own format."""


class RunnerError(EngineError):
    """The engine's runner failed on the device."""


class GoalMissedError(EdgekitError):
    """No candidate passed the gate or met the goal."""

    exit_code = 5


class MeasurementInvalidError(EdgekitError):
    """The measurement does not deserve belief."""

    exit_code = 6


class RolledBackError(EdgekitError):
    """The new deployment failed its check; the former one is active again."""

    exit_code = 7
