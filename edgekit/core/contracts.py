"""What an engine and a transport must be.

Plug-ins are found by name and imported when used; these contracts import nothing heavy.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgekit.core.knobs import Knob
from edgekit.core.model import Model, TensorSpec
from edgekit.core.names import EngineName, Precision
from edgekit.core.quantisation import CalibrationMethod, Quantisation
from edgekit.core.target import DeviceFacts, PythonFacts, Target

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Licence:
    """Terms of somebody else, which the user must accept before their tools are fetched.

    Attributes:
        name: what the terms are called.
        url: where they stand.
        allows: what they let one do, in a few words.
    """

    name: str
    url: str
    allows: str


@dataclass(frozen=True)
class ToolboxSpec:
    """The isolated environment that an engine builds in.

    Attributes:
        name: folder name in the cache; one toolbox may serve several engines.
        python: version of the interpreter, such as ``3.11``.
        requirements: hash-locked requirement file, no download addresses in it.
        dependencies: whether declared dependencies are followed; ``False`` where the file
            lists all that is wanted (packages that declare far more than they need).
        declared_python: whether the Pythons that packages declare are heeded; ``False`` where
            one is known to run on an older Python than it says.
        licence: whose terms must be accepted before it is made; ``None`` where all that is in
            it is free software.
    """

    name: str
    python: str
    requirements: Path
    dependencies: bool = False
    declared_python: bool = True
    licence: Licence | None = None


@dataclass(frozen=True)
class Excerpt:
    """Single files of a package, where a board needs no more of it: libraries, no Python.

    Attributes:
        package: name from the runtime's requirement file.
        python: a Python for which there is a wheel; the board's own does not matter.
        files: their paths in the wheel.
    """

    package: str
    python: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class LibrarySources:
    """A library that is compiled here for a board, of C++.

    Attributes:
        path: where it lands in the runtime.
        files: what is compiled.
        includes: folders in which headers are looked up, the first wins.
        flags: of the compiler, beyond those for any library.
        needs: paths of libraries made before it that it is linked to.
        headers: folders with further headers, which files include by where they stand.
    """

    path: str
    files: tuple[Path, ...]
    includes: tuple[Path, ...]
    flags: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    headers: tuple[Path, ...] = ()


@dataclass(frozen=True)
class RuntimeSpec:
    """What must be importable on the board for an engine's runner to run.

    Attributes:
        python: the interpreter on the board that was chosen.
        requirements: hash-locked requirement file with markers per Python.
        packages: names from that file to fetch for this board.
        system_packages: names that the board's own system already provides.
        first_load_s: seconds that a model's first load may take where the board itself ends its
            build; what it makes then is kept and sent to identical boards (``made`` in
            ``edgekit.onboard.harness``). 0: nothing is made there.
        excerpts: what is fetched in part; it lands where the whole package would.
        compiled: whether libraries are compiled here besides, which no registry has for the
            board (``app.runtimes``).
    """

    python: PythonFacts
    requirements: Path
    packages: tuple[str, ...]
    system_packages: tuple[str, ...] = ()
    first_load_s: float = 0.0
    excerpts: tuple[Excerpt, ...] = ()
    compiled: bool = False


@dataclass(frozen=True)
class Unsupported:
    """Why an engine cannot serve here, in words, and what would help.

    Attributes:
        other_hardware: nothing on such a board is what the engine is made for, whatever the
            model: worth a word only to somebody who named the engine.
        export_only: the engine's files can be made for the device; its runtime is the user's to
            bring.
    """

    reason: str
    hint: str | None = None
    other_hardware: bool = False
    export_only: bool = False


class Engine(Protocol):
    """One engine: light to import, all facts, no work.

    An engine lives in ``edgekit/engines/<name>/`` beside ``build.py`` (runs inside its
    toolbox), ``runner.py`` (runs on the board) and its locked requirements. The folder's
    ``__init__`` exposes it as ``ENGINE``. Where its runner tells what layers take, ``layers.py``
    finds the ONNX nodes that they are (``edgekit.engines.onnx_layers``), with the help of
    ``values.py`` (runs inside the toolbox) if names do not tell.

    Order of calls: :meth:`check` before anything else; :meth:`runtime` once the device is
    known; then, by the app, the toolbox runs ``build_script`` with :meth:`build_settings`.
    None of the methods does input or output.
    """

    @property
    def name(self) -> EngineName:
        """The engine's name, which is also its folder's."""

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Precisions it can build, the safest first."""

    @property
    def methods(self) -> tuple[CalibrationMethod, ...]:
        """Ways it can choose int8 ranges, its best first guess first; empty without int8."""

    @property
    def mixes(self) -> bool:
        """Whether an int8 model of it may keep single layers in float."""

    @property
    def tunable(self) -> bool:
        """Whether its code is slow unless it was tuned for the kind of board.

        Untuned, it takes part in no race that does not name it.
        """

    @property
    def toolbox(self) -> ToolboxSpec:
        """The environment in which ``build_script`` runs."""

    @property
    def build_script(self) -> Path:
        """Script that reads a job and writes the engine's files (``toolbox.worker``)."""

    @property
    def runner_module(self) -> str:
        """Module that runs on the board, such as ``edgekit.engines.ncnn.runner``."""

    def check(self, model: Model, precision: Precision, target: Target) -> Unsupported | None:
        """Tell why this model cannot be built so for this target; ``None`` if it can.

        An operator that the engine lacks is named in the reason.
        """

    def runtime(self, target: Target, facts: DeviceFacts) -> RuntimeSpec | Unsupported:
        """Choose Python and packages for a device, or tell why none will do."""

    def knobs(self, precision: Precision, target: Target, facts: DeviceFacts) -> tuple[Knob, ...]:
        """List what the engine's runner lets one turn on this device, beyond its threads.

        Each knob's first value is what the runner does by default.
        """

    def build_settings(self, model: Model, precision: Precision, target: Target) -> str:
        """Return the engine's own part of the build job as canonical JSON text.

        It is part of the cache key: equal text, equal model and equal toolbox lock mean equal
        files.
        """


class BuildJob(Protocol):
    """What an engine's ``build.py`` works on, inside its toolbox.

    ``build.py`` defines ``build(job: BuildJob) -> None``; edgekit itself is not importable
    there. What the engine's files are called is agreed with its ``runner.py``.
    """

    @property
    def model(self) -> Path:
        """The ONNX file in normal form."""

    @property
    def precision(self) -> Precision:
        """The precision to build."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What :meth:`Engine.build_settings` returned, parsed."""

    @property
    def quantisation(self) -> Quantisation | None:
        """How int8 is to be made; ``None`` at any other precision."""

    def samples(self) -> "Iterator[Mapping[str, NDArray[Any]]]":
        """Give the calibration samples anew, one after the other, by the inputs' names.

        Each array has its input's whole shape, the batch axis of one included. Nothing comes
        where the precision is not int8.
        """

    def ranges(self) -> "Ranges":
        """Make an observer that chooses ranges by ``quantisation.method``.

        Not for the method ``engine``, whose ranges are the engine's own affair.
        """

    def observed(self, model: "onnx.ModelProto", names: Sequence[str]) -> "Ranges":
        """Run the calibration samples through a model in ONNX Runtime; observe tensors of it.

        Args:
            model: takes what :attr:`model` takes.
            names: of its tensors, inputs included.

        Raises:
            RuntimeError: there are no samples.
        """

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs."""

    @property
    def output(self) -> Path:
        """Empty folder: every file left in it becomes part of the bundle."""

    @property
    def scratch(self) -> Path:
        """Empty folder that is thrown away afterwards."""

    @property
    def sources(self) -> Path | None:
        """The folder ``cross/runners/<engine>``, where there is one; ``frame`` lies beside it."""

    def note(self, text: str) -> None:
        """Have the user told something, at this build and whenever it is taken from the cache."""

    def compile(
        self, architecture: str, output: Path, arguments: Sequence[str], *, glibc: str
    ) -> None:
        """Compile or link C for a board (``edgekit.toolbox.toolchains``).

        Args:
            architecture: of the board's userland.
            output: file to make.
            arguments: of the compiler, without ``-o``.
            glibc: the oldest that the board may have.

        Raises:
            RuntimeError: no compiler, it failed, or what it makes asks for a newer glibc.
        """

    def run(self, command: Sequence[str]) -> str:
        """Run a command in ``scratch``; return what it printed.

        Raises:
            RuntimeError: it failed; the message holds its last words.
        """

    def verify(
        self, infer: Callable[[Mapping[str, Any]], Mapping[str, Any]], *, tolerance: float
    ) -> None:
        """Compare ``infer`` with ONNX Runtime on one seeded input.

        Args:
            infer: takes and gives arrays by name, in the model's own names and shapes.
            tolerance: largest difference allowed, as a share of the output's largest value.

        Raises:
            RuntimeError: an output is missing, of another shape, not finite, or too far off.
        """

    def grade(self, infer: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        """Run ``infer`` on a few calibration samples and log how far it is from float.

        For int8, where no tolerance can tell right from wrong: the gate does that, on answers.

        Raises:
            RuntimeError: an output is missing, of another shape, or not finite.
        """


class Ranges(Protocol):
    """Observes tensors and chooses a range for each, whatever the order of the samples."""

    def see(self, values: "Mapping[str, NDArray[Any]]") -> None:
        """Take in what one sample made of each tensor: float arrays of any shape by name.

        Raises:
            RuntimeError: a value is not finite.
        """

    def names(self) -> tuple[str, ...]:
        """Return the names of the tensors that were seen, sorted."""

    def of(self, name: str) -> tuple[float, float]:
        """Return the range of one tensor, which always holds zero.

        Raises:
            KeyError: it was never seen.
        """


class AgentStream(Protocol):
    """Both ends of a running command's standard streams, as bytes."""

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes; ``b""`` at the end.

        Raises:
            ConnectionLostError: the link broke.
        """

    def write(self, data: bytes | memoryview) -> None:
        """Write all of ``data``.

        Raises:
            ConnectionLostError: the link broke.
        """

    def diagnostics(self) -> str:
        """Return what the command wrote to standard error so far."""

    def close(self) -> int | None:
        """End the command; return its exit status where it is known."""


class Transport(Protocol):
    """A way to run a command on a device."""

    @property
    def name(self) -> str:
        """What the user calls the device."""

    def open(self, command: Sequence[str]) -> AgentStream:
        """Start ``command`` on the device with its streams attached."""

    def close(self) -> None:
        """Give the connection back."""
