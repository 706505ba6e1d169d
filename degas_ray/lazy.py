"""Public names of a package that are imported when they are first used, so that ``import`` of the package is quick.

The package imports the same names under ``TYPE_CHECKING``: type checkers and editors see those, and never this.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of a package whose names are imported on first use.

    Args:
        package: ``__name__`` of the package.
        modules: Public name -> the module that defines it, relative to the package; ``.runs.alone`` is beside it.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f".{modules[name]}", package), name)

    return get, lambda: sorted(modules)
