"""Tests of `fastsoftmax.torch`: skipped where PyTorch is not installed, which no extra of the tests brings."""

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'fastsoftmax[torch]'")
