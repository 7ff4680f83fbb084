"""What is kept on disk of what Numba compiled."""

import pytest

pytest.importorskip("numba")

from fastsoftmax.kernels.numba.runtime import compile


def test_only_what_numba_cached_for_other_versions_is_removed(tmp_path, monkeypatch):
    own = compile._digest()[:8]
    monkeypatch.setattr(compile, "WING", tmp_path)
    folder = tmp_path / "passes" / "__pycache__"
    folder.mkdir(parents=True)
    kept = [f"dense.make.locals.work_{own}-12.py311.{end}" for end in ("nbi", "1.nbc")]
    kept += ["dense.cpython-311.pyc"]
    gone = [f"dense.make.locals.work_01234567-12.py31{minor}.{end}" for minor in (1, 2) for end in ("nbi", "1.nbc")]
    for name in kept + gone:
        (folder / name).write_text("")
    compile.forget_superseded.__wrapped__()
    assert sorted(file.name for file in folder.iterdir()) == sorted(kept)
