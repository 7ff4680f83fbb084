"""`LinearCrossEntropyLoss` beside PyTorch's module: parameters, state, losses."""

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'fastsoftmax[torch]'")

import torch  # noqa: E402

from fastsoftmax.torch import LinearCrossEntropyLoss  # noqa: E402

CASES = [
    {},
    {"bias": True, "reduction": "sum", "label_smoothing": 0.1},
    {"bias": True, "out_features": (2, 3), "weight": torch.tensor([1.0, 2.0, 3.0, 4.0]), "ignore_index": 1},
]


@pytest.mark.parametrize("keywords", CASES)
def test_each_module_loads_the_state_of_the_other(keywords):
    torch.manual_seed(0)
    ours, theirs = LinearCrossEntropyLoss(5, 4, **keywords), torch.nn.LinearCrossEntropyLoss(5, 4, **keywords)
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x, y = torch.randn(6, 5), torch.randint(0, 4, (6, *keywords.get("out_features", ())))
    losses = [module(x, y) for module in (ours, theirs)]
    assert torch.allclose(*losses)
    for loss in losses:
        loss.backward()
    for (name, a), (other, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == other
        assert torch.allclose(a.grad, b.grad, atol=1e-7)


def test_a_module_says_what_it_is():
    module = LinearCrossEntropyLoss(5, 4, reduction="sum", dtype=torch.float64)
    assert "in_features=5, num_classes=4" in repr(module)
    assert module.linear.weight.dtype == torch.float64


@pytest.mark.parametrize(
    ("keywords", "name"), [({"weight": torch.ones(3)}, "weight"), ({"label_smoothing": 2.0}, "label")]
)
def test_an_error_names_the_argument(keywords, name):
    with pytest.raises(RuntimeError, match=f"^{name}"):
        LinearCrossEntropyLoss(5, 4, **keywords)


def test_a_module_learns():
    torch.manual_seed(0)
    x = torch.randn(300, 6)
    y = (x @ torch.randn(6, 3)).argmax(1)
    head = LinearCrossEntropyLoss(6, 3)
    descent = torch.optim.SGD(head.parameters(), lr=1.0)
    losses = []
    for _ in range(30):
        descent.zero_grad()
        loss = head(x, y)
        loss.backward()
        descent.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]
