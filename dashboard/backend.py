"""The build backend: that of setuptools, and the dashboard is built first, so that every distribution contains it.

It must not know how the dashboard is built, but for the two orders that npm is given.
"""

import warnings
from pathlib import Path
from typing import Any

import npm
from setuptools import build_meta  # type: ignore[import-untyped]
from setuptools.build_meta import (  # type: ignore[import-untyped]
    get_requires_for_build_editable,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "durable_tasks" / "dashboard"

Options = dict[str, Any] | None


class BuildFailed(Exception):
    """The dashboard could not be built."""


def get_requires_for_build_sdist(config_settings: Options = None) -> list[str]:
    return [*build_meta.get_requires_for_build_sdist(config_settings), *_node()]


def get_requires_for_build_wheel(config_settings: Options = None) -> list[str]:
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_node()]


def build_sdist(sdist_directory: str, config_settings: Options = None) -> str:
    _build()
    return str(build_meta.build_sdist(sdist_directory, config_settings))


def build_wheel(wheel_directory: str, config_settings: Options = None, metadata_directory: str | None = None) -> str:
    _build()
    return str(build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))


def build_editable(wheel_directory: str, config_settings: Options = None, metadata_directory: str | None = None) -> str:
    """Builds no dashboard: whoever works on the source has `make dashboard`, and needs no Node.js for the rest."""
    if not _is_built():
        warnings.warn("the dashboard is not built; `make dashboard` builds it", stacklevel=2)
    return str(build_meta.build_editable(wheel_directory, config_settings, metadata_directory))


def _node() -> list[str]:
    return [npm.PACKAGE] if _is_checkout() and npm.on_path() is None else []


def _build() -> None:
    """Raises NoNode, BuildFailed."""
    if _is_checkout():
        for order in (["ci"], ["run", "build", "--", "--out", str(OUT)]):
            if npm.run(*order) != 0:
                raise BuildFailed(f"npm {order[0]} failed in {npm.HERE}; it says above why")
    if not _is_built():
        raise BuildFailed(f"{OUT} has no dashboard, and its source is not here to build it from")


def _is_checkout() -> bool:
    """Whether there is something to build. A source distribution has the source too, and what was built of it."""
    return (npm.HERE / "package.json").exists() and not (ROOT / "PKG-INFO").exists()


def _is_built() -> bool:
    return (OUT / "index.html").exists()
