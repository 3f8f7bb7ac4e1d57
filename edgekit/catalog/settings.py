"""The one table of settings: option > ``EDGEKIT_*`` > ``./edgekit.toml`` > user file > default.

:class:`Settings` is that table: each field's name is the key in both files, its metadata holds
the help, and the documentation is made from it (:func:`settings_markdown`).
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from edgekit.catalog.toml_reader import field_types, read_present
from edgekit.core.errors import UsageError

PROJECT_FILE: Final = "edgekit.toml"


def _about(shown: str, help_text: str, also: str = "") -> dict[str, str]:
    """Describe a setting: its default as the documentation shows it, and what it is.

    ``also`` names a variable of others that counts where edgekit's own is not set.
    """
    return {"shown": shown, "help": help_text, "also": also}


def _xdg(variable: str, fallback: str) -> Path:
    """Return an XDG base folder. Relative values are to be ignored, says the specification.

    Source: XDG Base Directory Specification 0.8.
    """
    value = Path(os.environ.get(variable, ""))
    return (value if value.is_absolute() else Path.home() / fallback) / "edgekit"


@dataclass(frozen=True)
class Settings:
    """Every setting of edgekit, with the value that holds now."""

    model_path: tuple[Path, ...] = field(
        default=(),
        metadata=_about(
            "none",
            "Folders in which model files are looked up by file name before anything is fetched.",
        ),
    )
    data_path: tuple[Path, ...] = field(
        default=(),
        metadata=_about(
            "none",
            "Folders in which sample images are looked up; after these come each entry of "
            "`model_path` and the folder `data` beside it.",
        ),
    )
    catalog_path: tuple[Path, ...] = field(
        default=(),
        metadata=_about(
            "none",
            "Folders of your own with `targets/` and `recipes/` in them; they win over edgekit's.",
        ),
    )
    cache_dir: Path = field(
        default_factory=lambda: _xdg("XDG_CACHE_HOME", ".cache"),
        metadata=_about(
            "`$XDG_CACHE_HOME/edgekit` or `~/.cache/edgekit`",
            "Fetched models, toolboxes, built engines and virtual boards. Safe to delete while "
            "nothing runs; `edgekit cache prune` removes what is old.",
        ),
    )
    runs_dir: Path = field(
        default_factory=lambda: _xdg("XDG_STATE_HOME", ".local/state") / "runs",
        metadata=_about(
            "`$XDG_STATE_HOME/edgekit/runs` or `~/.local/state/edgekit/runs`",
            "One folder per run: the report, the raw samples, the logs.",
        ),
    )
    results_dir: Path = field(
        default_factory=lambda: _xdg("XDG_STATE_HOME", ".local/state") / "results",
        metadata=_about(
            "`$XDG_STATE_HOME/edgekit/results` or `~/.local/state/edgekit/results`",
            "What was measured on which device, so that a second race measures only what changed.",
        ),
    )
    records_dir: Path = field(
        default_factory=lambda: _xdg("XDG_STATE_HOME", ".local/state") / "records",
        metadata=_about(
            "`$XDG_STATE_HOME/edgekit/records` or `~/.local/state/edgekit/records`",
            "What tuning found out, trial by trial. Hours of boards' time: not a cache.",
        ),
    )
    devices_file: Path = field(
        default_factory=lambda: config_folder() / "devices.toml",
        metadata=_about(
            "`devices.toml` beside the user file",
            "The inventory that `edgekit devices` keeps.",
        ),
    )
    target: str | None = field(
        default=None, metadata=_about("none", "Target where `--target` is not given.")
    )
    device: str | None = field(
        default=None, metadata=_about("none", "Device where `--device` is not given.")
    )
    max_drop: float | None = field(
        default=None,
        metadata=_about("the recipe's", "Largest loss of accuracy that passes the gate, absolute."),
    )
    threads: int | None = field(
        default=None,
        metadata=_about("the engine's choice", "Threads of the engine on the device."),
    )
    accept_licence: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            "none",
            "Engines whose vendor's terms you have read and accept; without it their tools are "
            "not fetched.",
        ),
    )
    tvm_source: Path | None = field(
        default=None,
        metadata=_about(
            "the sources in TVM's wheel",
            "TVM's source tree, of which its runtime is compiled where no wheel has one (32-bit "
            "ARM, `export --static`); the variable `TVM_SOURCE` is read, too.",
            also="TVM_SOURCE",
        ),
    )
    repeat_budget_s: float = field(
        default=60.0,
        metadata=_about(
            "60",
            "Seconds that a race may wait, for the device to cool or others to end, and measure "
            "again what was not believed; 0 for not at all.",
        ),
    )
    accept_invalid: bool = field(
        default=False,
        metadata=_about(
            "false",
            "Whether a command whose measurements are not to be believed exits with 0 all the "
            "same; it still says so.",
        ),
    )
    connect_timeout_s: float = field(
        default=15.0,
        metadata=_about("15", "Seconds until a host that does not answer counts as unreachable."),
    )
    fetch_timeout_s: float = field(
        default=30.0,
        metadata=_about("30", "Seconds of silence until a download counts as broken."),
    )
    debian_mirror: str | None = field(
        default=None,
        metadata=_about(
            "the host's own, from its apt configuration",
            "Address of the Debian archive that virtual boards are made from.",
        ),
    )

    def __post_init__(self) -> None:
        for name in ("connect_timeout_s", "fetch_timeout_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"setting {name} must be positive", hint="it counts seconds")
        if not 0 <= self.repeat_budget_s < float("inf"):
            raise UsageError("setting repeat_budget_s must not be negative", hint="0 for none")
        if self.threads is not None and self.threads < 1:
            raise UsageError("setting threads must be at least 1")
        if self.max_drop is not None and not 0 <= self.max_drop <= 1:
            raise UsageError("setting max_drop must lie between 0 and 1")


def environment_name(setting: str) -> str:
    """Return the environment variable of a setting."""
    return f"EDGEKIT_{setting.upper()}"


def config_folder() -> Path:
    """Return the folder of the user's own files: ``$XDG_CONFIG_HOME/edgekit``."""
    return _xdg("XDG_CONFIG_HOME", ".config")


def user_file() -> Path:
    """Return the user's settings file; it need not exist."""
    return config_folder() / "config.toml"


def settings(options: Mapping[str, object] | None = None) -> Settings:
    """Return the settings that hold now, each from the strongest layer that names it.

    Args:
        options: values given on the command line; ``None`` stands for not given.

    Raises:
        CatalogError: a settings file is wrong.
        UsageError: an environment variable is wrong, or an option is no setting.
    """
    values: dict[str, object] = {}
    for file in (user_file(), Path.cwd() / PROJECT_FILE):
        if file.is_file():
            values |= _absolute(read_present(file, Settings), file.parent)
    values |= _absolute(_from_environment(), Path.cwd())
    given = {name: value for name, value in (options or {}).items() if value is not None}
    unknown = given.keys() - {entry.name for entry in fields(Settings)}
    if unknown:
        raise UsageError(f"no setting is named {', '.join(sorted(unknown))}")
    # Every value was typed by the reader, by _parse, or by the caller's own option.
    return Settings(**{**values, **_absolute(given, Path.cwd())})  # type: ignore[arg-type]


def data_folders(held: Settings | None = None) -> tuple[Path, ...]:
    """Return the folders in which samples are looked up, best first.

    They are ``data_path``, then each entry of ``model_path`` and the ``data`` beside it.
    """
    held = held or settings()
    beside = (found for entry in held.model_path for found in (entry, entry.parent / "data"))
    return tuple(dict.fromkeys((*held.data_path, *beside)))


def _absolute(values: Mapping[str, object], base: Path) -> dict[str, object]:
    """Take paths as seen from ``base``: a file's paths mean what they mean beside it."""

    def seen(value: object) -> object:
        if isinstance(value, Path):
            return base / value.expanduser()
        if isinstance(value, tuple):
            return tuple(map(seen, value))
        return value

    return {name: seen(value) for name, value in values.items()}


def _from_environment() -> dict[str, object]:
    hints = field_types(Settings)
    values: dict[str, object] = {}
    faults: list[str] = []
    for entry in fields(Settings):
        variable = environment_name(entry.name)
        text = os.environ.get(variable, "") or os.environ.get(entry.metadata["also"], "")
        # An empty variable counts as absent, as the shells' own ${X:-default} has it.
        if not text:
            continue
        try:
            values[entry.name] = _parse(hints[entry.name], text)
        except (ValueError, KeyError):
            faults.append(f"{variable}={text!r} is no {_TYPE_WORDS[hints[entry.name]]}")
    if faults:
        raise UsageError("; ".join(faults), hint="mend or unset the environment variable")
    return values


def _parse(wanted: Any, text: str) -> object:  # noqa: ANN401 - an annotation may be anything
    parse = _PARSERS.get(wanted)
    return parse(text) if parse else text


_SWITCH: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}

_PARSERS: Final[Mapping[object, Callable[[str], object]]] = {
    tuple[Path, ...]: lambda text: tuple(Path(part) for part in text.split(os.pathsep) if part),
    tuple[str, ...]: lambda text: tuple(part.strip() for part in text.split(",") if part.strip()),
    Path: Path,
    Path | None: Path,
    float: float,
    float | None: float,
    int | None: int,
    bool: lambda text: _SWITCH[text.lower()],
}

_TYPE_WORDS: Final[Mapping[object, str]] = {
    tuple[Path, ...]: "array of paths",
    tuple[str, ...]: "array of strings",
    Path: "path",
    Path | None: "path",
    float: "number",
    float | None: "number",
    int | None: "integer",
    bool: "true or false",
    str | None: "string",
}


def settings_markdown() -> str:
    """Return the documentation of all settings, as it stands in ``docs/settings.md``."""
    hints = field_types(Settings)
    rows = "\n".join(
        f"| `{entry.name}` | `{environment_name(entry.name)}` | {_TYPE_WORDS[hints[entry.name]]} "
        f"| {entry.metadata['shown']} | {entry.metadata['help']} |"
        for entry in fields(Settings)
    )
    return f"""# Settings

Made from the table in `edgekit/catalog/settings.py`; do not edit by hand.

A setting is taken from the first of: the option on the command line, the environment variable,
`edgekit.toml` in the folder where edgekit is called, the user file
(`$XDG_CONFIG_HOME/edgekit/config.toml` or `~/.config/edgekit/config.toml`), the default.
In an environment variable, paths are separated by `:` and names by `,`. In a file,
relative paths count from the file's own folder.

| key | environment | type | default | what it is |
|---|---|---|---|---|
{rows}
"""
