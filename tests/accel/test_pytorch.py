"""`fastsoftmax.accel --torch`: whose function runs for which tensors, and what comes back when it ends."""

import sys

import child
import pytest

import fastsoftmax.accel
from fastsoftmax.accel import pytorch


def test_without_pytorch_the_error_says_how_to_install_it(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(pytorch.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ImportError, match=r"fastsoftmax.accel --torch needs torch: pip install 'fastsoftmax\[torch\]'"):
        fastsoftmax.accel.install_torch()
    monkeypatch.setenv(pytorch.VARIABLE, "1")
    pytorch.install_torch_if_asked()  # a process that a program starts may have another Python
    assert not pytorch._WANTED.is_set()


torch = pytest.importorskip("torch")
F = torch.nn.functional
if not hasattr(F, "linear_cross_entropy"):
    pytest.skip("this PyTorch has no linear_cross_entropy", allow_module_level=True)
THEIRS = F.linear_cross_entropy


@pytest.fixture
def calls(monkeypatch):
    """Ours is installed; what it is called with."""
    import fastsoftmax.torch

    made, ours = [], fastsoftmax.torch.linear_cross_entropy
    monkeypatch.setattr(fastsoftmax.torch, "linear_cross_entropy", lambda *a, **k: made.append(k) or ours(*a, **k))
    fastsoftmax.accel.install_torch()
    fastsoftmax.accel.install_torch()
    yield made
    fastsoftmax.accel.uninstall_torch()
    assert F.linear_cross_entropy is THEIRS


def batch():
    torch.manual_seed(0)
    return torch.randn(20, 8, requires_grad=True), torch.randn(5, 8, requires_grad=True), torch.randint(0, 5, (20,))


def test_tensors_of_the_cpu_are_ours(calls):
    x, w, y = batch()
    loss = F.linear_cross_entropy(x, w, y, label_smoothing=0.1)
    assert calls == [{"label_smoothing": 0.1}]
    loss.backward()
    found = x.grad, w.grad
    wanted = torch.autograd.grad(THEIRS(x, w, y, label_smoothing=0.1), (x, w))
    torch.testing.assert_close(found, wanted)
    assert F.linear_cross_entropy.__doc__ == THEIRS.__doc__


def test_the_module_of_pytorch_calls_it(calls):
    x, _, y = batch()
    torch.nn.LinearCrossEntropyLoss(8, 5)(x, y).backward()
    assert len(calls) == 1 and x.grad is not None


def test_what_ours_does_not_serve_is_left_to_pytorch(calls):
    x, w, y = batch()
    shares = torch.softmax(torch.randn(20, 5), 1).requires_grad_()
    F.linear_cross_entropy(x, w, shares).backward()
    assert shares.grad is not None
    assert F.linear_cross_entropy(x.to("meta"), w.to("meta"), y.to("meta")).device.type == "meta"
    assert not calls


def test_uninstalling_leaves_a_function_that_others_have_put_there(monkeypatch):
    fastsoftmax.accel.install_torch()
    other = object()
    F.linear_cross_entropy = other
    fastsoftmax.accel.uninstall_torch()
    assert F.linear_cross_entropy is other
    F.linear_cross_entropy = THEIRS


PROGRAM = """
import subprocess, sys
import torch
w = torch.zeros(5, 8, requires_grad=True)
loss = torch.nn.functional.linear_cross_entropy(torch.zeros(2, 8), w, torch.tensor([0, 1]))
print(loss.grad_fn.name().startswith("Plain"))
if sys.argv[1:]:
    print(subprocess.run([sys.executable, __file__], capture_output=True, text=True).stdout, end="")
"""


def test_a_program_and_the_processes_that_it_starts(tmp_path):
    (tmp_path / "p.py").write_text(PROGRAM)
    done = child.python("-m", "fastsoftmax.accel", "--torch", str(tmp_path / "p.py"), "again")
    assert done.stdout == "True\nTrue\n", done.stderr
    assert child.python("-m", "fastsoftmax.accel", str(tmp_path / "p.py")).stdout == "False\n"
