"""Something to do as soon as a module has been imported, now or later."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def after_import(module: str, action: Callable[[], None]) -> None:
    """Call ``action`` at once if the module has been imported, else as soon as it is."""
    if module in sys.modules:
        importlib.import_module(module)  # waits for a thread that is importing it
        action()
    elif not any(isinstance(finder, _Watch) and finder.action is action for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch(module, action))


def forget(action: Callable[[], None]) -> None:
    """Take back what `after_import` was asked for and has not done yet."""
    for finder in list(sys.meta_path):
        if isinstance(finder, _Watch) and finder.action is action:
            sys.meta_path.remove(finder)


class _Watch(MetaPathFinder):
    """Finds the module as the other finders do, and lets its loader call ``action`` when it has run the module."""

    def __init__(self, module: str, action: Callable[[], None]) -> None:
        self.module, self.action = module, action

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.module:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            self._extend(spec)
        return spec

    def _extend(self, spec: ModuleSpec) -> None:
        loader = spec.loader
        assert loader is not None
        run = loader.exec_module

        def run_and_act(module: ModuleType) -> None:
            run(module)
            del loader.exec_module  # the instance's, which hid that of the class
            forget(self.action)
            self.action()

        loader.exec_module = run_and_act  # type: ignore[method-assign]
