"""The operators by PyTorch's own checks; `torch.func`, `torch.compile`, second derivatives, graphs walked twice."""

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'fastsoftmax[torch]'")

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from fastsoftmax.torch import LinearCrossEntropyLoss, linear_cross_entropy, operator  # noqa: E402

REDUCTIONS = ["mean", "sum", "none"]


@pytest.fixture
def tensors():
    """input, linear_weight, linear_bias, target, weight."""
    torch.manual_seed(0)
    wide = {"dtype": torch.float64}
    x, W, b = torch.randn(6, 5, **wide), torch.randn(4, 5, **wide), torch.randn(4, **wide)
    return *(t.requires_grad_() for t in (x, W, b)), torch.randint(0, 4, (6,)), torch.rand(4, **wide)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradients_are_right(tensors, reduction):
    *wanted, y, weight = tensors

    def loss(x, W, b):
        keywords = {"weight": weight, "label_smoothing": 0.1, "reduction": reduction}
        return linear_cross_entropy(x, W, y, linear_bias=b, **keywords)

    assert torch.autograd.gradcheck(loss, wanted)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.filterwarnings("ignore")  # of the checks themselves
def test_the_forward_operator_passes_the_checks(tensors, reduction):
    x, W, b, y, weight = tensors
    ahead = reduction != "none"
    torch.library.opcheck(operator.forward, (x, W, y, b, weight, reduction, -100, 0.0, ahead, ahead, ahead))
    torch.library.opcheck(operator.forward, (x, W, y, None, None, reduction, -100, 0.1, ahead, False, False))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.filterwarnings("ignore")
def test_the_backward_operator_passes_the_checks(tensors, reduction):
    x, W, b, y, weight = (t.detach() for t in tensors)
    factor = torch.rand(6 if reduction == "none" else (), dtype=torch.float64)
    torch.library.opcheck(operator.backward, (factor, x, W, y, b, weight, reduction, -100, 0.0, True, False, True))


def both(make):
    """What ``make`` gives for our function and for PyTorch's."""
    ours, theirs = make(linear_cross_entropy), make(F.linear_cross_entropy)
    assert torch.allclose(ours, theirs, rtol=1e-13, atol=1e-14)


def test_transforms_of_torch_func(tensors):
    W, y = tensors[1].detach(), torch.arange(18).reshape(3, 6) % 4
    xs = torch.randn(3, 6, 5, dtype=torch.float64)
    both(lambda f: torch.func.grad(lambda W: f(xs[0], W, y[0]))(W))
    both(lambda f: torch.vmap(lambda x, y: f(x, W, y))(xs, y))
    both(lambda f: torch.vmap(torch.func.grad(lambda W, x, y: f(x, W, y)), (None, 0, 0))(W, xs, y))
    both(lambda f: torch.func.grad(lambda W: torch.vmap(lambda x, y: f(x, W, y))(xs, y).sum())(W))
    both(lambda f: torch.func.jacrev(lambda W: f(xs[0], W, y[0], reduction="none"))(W))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_second_derivatives_are_an_error_that_says_so(tensors, reduction):
    x, W, _, y, _ = tensors
    loss = linear_cross_entropy(x, W, y, reduction=reduction).sum()
    (grad,) = torch.autograd.grad(loss, W, create_graph=True)
    with pytest.raises(NotImplementedError, match="hess_prod"):
        grad.sum().backward()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # by what PyTorch's forward mode imports
def test_forward_mode_is_an_error_that_says_so(tensors):
    x, W, _, y, _ = tensors
    W = W.detach()
    with pytest.raises(NotImplementedError, match="in reverse mode"):
        torch.func.jvp(lambda x: linear_cross_entropy(x, W, y), (x.detach(),), (torch.ones_like(x),))
    with pytest.raises(NotImplementedError, match="in reverse mode"), torch.autograd.forward_ad.dual_level():
        linear_cross_entropy(torch.autograd.forward_ad.make_dual(x.detach(), torch.ones_like(x)), W, y)


def test_gradients_by_targets_and_class_weights_are_an_error(tensors):
    x, W, _, y, weight = tensors
    with pytest.raises(NotImplementedError, match="target"):
        linear_cross_entropy(x, W, torch.rand(6, 4, dtype=torch.float64, requires_grad=True)).backward()
    with pytest.raises(NotImplementedError, match="weight"):
        linear_cross_entropy(x, W, y, weight=weight.requires_grad_()).backward()


@pytest.mark.parametrize("factor", [1, 3])
def test_a_graph_that_is_walked_twice_gives_the_same_and_shares_no_memory(tensors, factor):
    x, W, _, y, _ = tensors
    loss = factor * linear_cross_entropy(x, W, y)
    (first,) = torch.autograd.grad(loss, W, retain_graph=True)
    kept = first.clone()
    first.zero_()
    (second,) = torch.autograd.grad(loss, W)
    assert torch.equal(kept, second)


@pytest.mark.filterwarnings("ignore")  # of the compiler itself
def test_a_compiled_training_step_is_one_graph():
    torch.manual_seed(0)
    net, head = torch.nn.Linear(5, 5), LinearCrossEntropyLoss(5, 4, bias=True)
    x, y = torch.randn(6, 5), torch.randint(0, 4, (6,))

    def step(x, y):
        return 2 * head(torch.tanh(net(x)), y)

    found = []
    for function in (step, torch.compile(step, fullgraph=True, backend="aot_eager")):
        net.zero_grad(), head.zero_grad()
        loss = function(x, y)
        loss.backward()
        found.append([loss, net.weight.grad.clone(), head.linear.weight.grad.clone()])
    assert all(torch.allclose(a, b) for a, b in zip(*found, strict=True))
