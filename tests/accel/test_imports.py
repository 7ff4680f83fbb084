"""Acting when a module is imported."""

import importlib
import sys
import threading
from types import SimpleNamespace

import pytest

from fastsoftmax.accel import imports


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that has not been imported."""
    (tmp_path / "watched_module.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "watched_module"
    sys.modules.pop("watched_module", None)


def test_the_action_follows_the_import_once(module):
    seen = []

    def action():
        seen.append(sys.modules[module].VALUE)

    before = list(sys.meta_path)
    imports.after_import(module, action)
    imports.after_import(module, action)
    assert not seen
    loaded = importlib.import_module(module)
    assert seen == [1] and sys.meta_path == before
    assert "exec_module" not in vars(loaded.__loader__)
    importlib.reload(loaded)
    assert seen == [1]


def test_of_a_module_that_is_there_the_action_comes_at_once(module):
    importlib.import_module(module)
    seen = []
    imports.after_import(module, lambda: seen.append(1))
    assert seen == [1]


def test_what_is_forgotten_does_not_happen(module):
    seen = []

    def action():
        seen.append(1)

    imports.after_import(module, action)
    imports.forget(action)
    importlib.import_module(module)
    assert not seen


def test_a_failed_import_leaves_the_action_for_the_next_one(module, tmp_path):
    seen = []

    def action():
        seen.append(1)

    file = tmp_path / "watched_module.py"
    file.write_text("1 / 0\n")
    imports.after_import(module, action)
    with pytest.raises(ZeroDivisionError):
        importlib.import_module(module)
    assert not seen
    file.write_text("VALUE = 'another length'\n")
    importlib.import_module(module)
    assert seen == [1]


def test_of_a_module_that_another_thread_is_importing_the_action_waits_for_its_end(module, tmp_path, monkeypatch):
    begun, go = threading.Event(), threading.Event()
    monkeypatch.setitem(sys.modules, "events_of_this_test", SimpleNamespace(begun=begun, go=go))
    text = "from events_of_this_test import begun, go\nbegun.set()\ngo.wait()\nVALUE = 2\n"
    (tmp_path / "watched_module.py").write_text(text)
    seen = []
    importing = threading.Thread(target=importlib.import_module, args=(module,))
    importing.start()
    begun.wait()

    def act():
        imports.after_import(module, lambda: seen.append(sys.modules[module].VALUE))

    acting = threading.Thread(target=act)
    acting.start()
    go.set()
    for thread in (importing, acting):
        thread.join()
    assert seen == [2]
