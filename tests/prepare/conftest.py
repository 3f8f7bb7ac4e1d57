"""A cache of its own for every test, and a place to collect events."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.catalog.recipes import load_recipe
from edgekit.core.events import ignore
from edgekit.prepare.fetch import fetch_model
from edgekit.prepare.normalise import prepare_model


class Events(list):
    """Events in the order they came; calling it collects one."""

    def __call__(self, event):
        self.append(event)

    def of(self, kind):
        return [event for event in self if isinstance(event, kind)]


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("prepare")
    for name in list(os.environ):
        if name.startswith("EDGEKIT_"):
            monkeypatch.delenv(name)
    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(root / variable.lower()))
    monkeypatch.chdir(root)
    return root / "xdg_cache_home" / "edgekit"


@pytest.fixture
def shapes_recipe():
    """The detector that edgekit ships."""
    return load_recipe("shapes")


@pytest.fixture
def shapes_model(shapes_recipe, own_cache):
    """The shipped detector in normal form."""
    file = fetch_model(shapes_recipe.source, emit=ignore)
    return prepare_model(shapes_recipe, file, size=None, emit=ignore)
