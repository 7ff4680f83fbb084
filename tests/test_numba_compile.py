"""What is kept on disk of what Numba compiled."""

import pytest

pytest.importorskip("numba")

from fastsoftmax.kernels import numba_compile


def test_only_what_numba_cached_for_other_versions_is_removed(tmp_path, monkeypatch):
    own = numba_compile._digest()[:8]
    monkeypatch.setattr(numba_compile, "__file__", str(tmp_path / "numba_compile.py"))
    folder = tmp_path / "__pycache__"
    folder.mkdir()
    kept = [f"numba_a.make.locals.work_{own}-12.py311.{end}" for end in ("nbi", "1.nbc")]
    kept += ["numba_a.cpython-311.pyc", "other.make.locals.work_01234567-12.py311.nbi"]
    gone = [f"numba_a.make.locals.work_01234567-12.py31{minor}.{end}" for minor in (1, 2) for end in ("nbi", "1.nbc")]
    for name in kept + gone:
        (folder / name).write_text("")
    numba_compile.forget_superseded.__wrapped__()
    assert sorted(file.name for file in folder.iterdir()) == sorted(kept)
