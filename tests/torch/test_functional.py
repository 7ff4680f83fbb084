"""`linear_cross_entropy` against PyTorch's own over all options, its errors, empty batches, threads and processes."""

import os

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'fastsoftmax[torch]'")

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from fastsoftmax.torch import linear_cross_entropy  # noqa: E402

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
n, k = 5, 4
LABELS = [("index", None), ("index", 2), ("index", -7), ("shares", None)]


def problem(dtype, lead, kind, *, positions=(), bias=True, seed=0):
    """input, linear_weight, linear_bias and target, all random."""
    torch.manual_seed(seed)
    x, W = torch.randn(*lead, n, dtype=dtype), torch.randn(k, *positions, n, dtype=dtype)
    b = torch.randn(k, *positions, dtype=dtype) if bias else None
    shape = (*lead, *positions)
    y = torch.rand(*lead, k, *positions, dtype=dtype) if kind == "shares" else torch.randint(0, k, shape)
    return x, W, b, y


def outcome(function, tensors, target, **keywords):
    """The loss, and gradients of it times fixed numbers, by each of the tensors that is not None."""
    x, W, b = (None if t is None else t.clone().requires_grad_() for t in tensors)
    loss = function(x, W, target, linear_bias=b, **keywords)
    factors = torch.linspace(0.5, 2.0, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
    wanted = [t for t in (x, W, b) if t is not None]
    return [loss.detach(), *torch.autograd.grad((loss * factors).sum(), wanted)]


def assert_no_worse(ours, theirs, truth):
    """Shapes and dtypes are PyTorch's; errors too, but for some roundings of the largest number or of a logit."""
    for a, b, c in zip(ours, theirs, truth, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert torch.equal(a.isnan(), c.isnan())
        if c.numel() and not c.isnan().any():
            allowed = (b - c).abs().max() + 8 * torch.finfo(a.dtype).eps * (1 + c.abs().max())
            assert (a.double() - c).abs().max() <= allowed


def assert_agrees(tensors, target, **keywords):
    wide = [None if t is None else t.double() for t in tensors]
    exact = target.double() if target.is_floating_point() else target
    weight = keywords.pop("weight", None)
    truth = outcome(F.linear_cross_entropy, wide, exact, weight=None if weight is None else weight.double(), **keywords)
    ours, theirs = (outcome(f, tensors, target, weight=weight, **keywords) for f in FUNCTIONS)
    assert_no_worse(ours, theirs, truth)


FUNCTIONS = linear_cross_entropy, F.linear_cross_entropy


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("kind", "ignore_index"), LABELS)
@pytest.mark.parametrize("lead", [(), (7,), (0,)], ids=str)
def test_loss_and_gradients_are_those_of_pytorch(dtype, reduction, smoothing, weighted, kind, ignore_index, lead):
    weight = torch.tensor([0.5, 2.0, 0.0, 1.5], dtype=dtype) if weighted else None
    for bias in (False, True):
        *tensors, target = problem(dtype, lead, kind, bias=bias)
        keywords = {"reduction": reduction, "ignore_index": ignore_index, "label_smoothing": smoothing}
        assert_agrees(tensors, target, weight=weight, **keywords)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("kind", "ignore_index"), LABELS)
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_of_several_positions(reduction, kind, ignore_index, weighted):
    *tensors, target = problem(torch.float64, (6,), kind, positions=(2, 3))
    weight = torch.tensor([0.5, 2.0, 1.0, 1.5], dtype=torch.float64) if weighted else None
    keywords = {"reduction": reduction, "ignore_index": ignore_index, "label_smoothing": 0.1}
    assert_agrees(tensors, target, weight=weight, **keywords)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_if_all_rows_are_ignored_the_mean_is_nan_and_gradients_are_zero(reduction, weighted):
    *tensors, _ = problem(torch.float64, (3,), "index")
    weight = torch.ones(k, dtype=torch.float64) if weighted else None
    for smoothing in (0.0, 0.1):
        found = outcome(
            linear_cross_entropy, tensors, torch.full((3,), 1), ignore_index=1, reduction=reduction, weight=weight,
            label_smoothing=smoothing,
        )  # fmt: skip
        assert found[0].isnan().all() if reduction == "mean" else not found[0].any()
        assert not any(grad.any() for grad in found[1:])


def test_more_leading_dimensions_are_rows():
    x, W, b, y = problem(torch.float64, (2, 3), "index")
    flat = linear_cross_entropy(x.flatten(0, 1), W, y.flatten(), linear_bias=b, reduction="none")
    assert torch.equal(linear_cross_entropy(x, W, y, linear_bias=b, reduction="none"), flat.reshape(2, 3))


def test_strides_of_any_kind_and_a_weight_that_is_transposed():
    torch.manual_seed(0)
    x, W, y = (
        torch.randn(n, 14, dtype=torch.float64).T[::2],
        torch.randn(n, k, dtype=torch.float64).T,
        torch.arange(7) % k,
    )
    tensors = (x.requires_grad_(), W.requires_grad_())
    ours, theirs = (torch.autograd.grad(f(*tensors, y), tensors) for f in FUNCTIONS)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-15) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("classes", [1, 3, 3000])
def test_sizes_at_the_ends(dtype, classes):
    torch.manual_seed(0)
    x, W = torch.randn(70, 700).to(dtype), (torch.randn(classes, 700) / 26).to(dtype)
    assert_agrees((x, W, None), torch.randint(0, classes, (70,)), label_smoothing=0.1)


def test_probabilities_and_weights_of_so_many_classes_that_targets_come_in_chunks():
    torch.manual_seed(0)
    x, W, weight = torch.randn(900, 8), torch.randn(20_000, 8), torch.rand(20_000)
    assert_agrees((x, W, None), torch.randint(0, 20_000, (900,)), weight=weight, label_smoothing=0.2)


def test_nothing_is_computed_that_is_not_wanted():
    x, W, b, y = problem(torch.float64, (7,), "index")
    assert not linear_cross_entropy(x, W, y, linear_bias=b).requires_grad
    W.requires_grad_()
    (grad,) = torch.autograd.grad(linear_cross_entropy(x, W, y), W)
    assert grad.shape == W.shape
    with torch.no_grad():
        assert not linear_cross_entropy(x, W, y).requires_grad


def test_nan_and_infinity_go_through():
    x, W, _, y = problem(torch.float32, (7,), "index")
    x[2, 1] = torch.nan
    assert linear_cross_entropy(x, W, y).isnan()
    assert linear_cross_entropy(x, W, y, reduction="none").isnan().tolist() == [i == 2 for i in range(7)]


def test_autocast_takes_several_dtypes_and_returns_float32():
    x, W, _, y = problem(torch.float32, (7,), "index")
    W.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(x.bfloat16(), W, y)
    loss.backward()
    assert (loss.dtype, W.grad.dtype) == (torch.float32, torch.float32)
    assert torch.allclose(loss, F.linear_cross_entropy(x.bfloat16().float(), W, y))


class Squares(torch.utils.data.Dataset):
    """Losses of other processes: a `DataLoader` asks each of its workers for some."""

    def __len__(self):
        return 6

    def __getitem__(self, i):
        x, W, b, y = problem(torch.float32, (700,), "index", seed=i)
        return linear_cross_entropy(x, W, y, linear_bias=b).item()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_of_a_data_loader_after_passes_in_the_parent():
    wanted = [Squares()[i] for i in range(6)]
    loader = torch.utils.data.DataLoader(Squares(), num_workers=2, multiprocessing_context="fork")
    assert [batch.item() for batch in loader] == pytest.approx(wanted, rel=1e-6)


def test_results_do_not_depend_on_the_number_of_threads():
    torch.manual_seed(0)
    x, W, y = torch.randn(1500, 40), torch.randn(30, 40), torch.randint(0, 30, (1500,))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(outcome(linear_cross_entropy, (x, W, None), y))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


WRONG = [
    (IndexError, "target", {"target": torch.tensor([0, 4])}),
    (IndexError, "target", {"target": torch.tensor([0, -1])}),
    (RuntimeError, "target", {"target": torch.tensor([0, 1, 2])}),
    (RuntimeError, "target", {"target": torch.tensor([0.0, 1.0])}),
    (RuntimeError, "target", {"target": torch.zeros(2, k, dtype=torch.int64)}),
    (RuntimeError, "ignore_index", {"target": torch.zeros(2, k), "ignore_index": 1}),
    (RuntimeError, "linear_weight", {"linear_weight": torch.zeros(k, n + 1)}),
    (RuntimeError, "linear_weight", {"linear_weight": torch.zeros(n)}),
    (RuntimeError, "linear_weight", {"linear_weight": torch.zeros(k, n, dtype=torch.float64)}),
    (RuntimeError, "linear_bias", {"linear_bias": torch.zeros(k + 1)}),
    (RuntimeError, "weight", {"weight": torch.zeros(k + 1)}),
    (RuntimeError, "label_smoothing", {"label_smoothing": 1.5}),
    (ValueError, "reduction", {"reduction": "median"}),
    (RuntimeError, "input", {"input": torch.zeros(2, n, dtype=torch.int32)}),
    (RuntimeError, "linear_weight", {"linear_weight": torch.zeros(k, n, device="meta")}),
    (TypeError, "input", {"input": [[0.0]]}),
    (TypeError, "target", {"target": None}),
    (TypeError, "options", {"options": 3}),
    (NotImplementedError, "input is a tensor of layout torch.sparse_coo", {"input": torch.zeros(2, n).to_sparse()}),
    (NotImplementedError, "linear_weight is a tensor of layout", {"linear_weight": torch.zeros(k, n).to_sparse()}),
    (RuntimeError, "acc_dtype", {"options": torch.nn.LinearCrossEntropyOptions(acc_dtype=torch.float64)}),
]


@pytest.mark.parametrize(("error", "name", "changed"), WRONG, ids=lambda value: str(value)[:40])
def test_an_error_names_the_argument(error, name, changed):
    arguments = {"input": torch.zeros(2, n), "linear_weight": torch.zeros(k, n), "target": torch.tensor([0, 1])}
    with pytest.raises(error, match=rf"\b{name}\b"):
        linear_cross_entropy(**(arguments | changed))


def test_options_change_nothing():
    x, W, b, y = problem(torch.bfloat16, (7,), "index")
    for options in (None, torch.nn.LinearCrossEntropyOptions(batch_chunk_size=2, acc_dtype=torch.float32)):
        assert linear_cross_entropy(x, W, y, options=options) == linear_cross_entropy(x, W, y)


def test_tensors_of_another_device_are_an_error_that_names_the_alternative():
    class Elsewhere(torch.Tensor):
        device = torch.device("cuda:0")

    x, W, _, y = problem(torch.float32, (7,), "index")
    with pytest.raises(NotImplementedError, match="cuda:0.*torch.nn.functional.linear_cross_entropy"):
        linear_cross_entropy(x.as_subclass(Elsewhere), W, y)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_of_meta_tensors_the_shapes_are_worked_out(reduction):
    x, W, y = (
        torch.zeros(7, n, device="meta"),
        torch.zeros(k, n, device="meta"),
        torch.zeros(7, dtype=int, device="meta"),
    )
    loss = linear_cross_entropy(x.requires_grad_(), W.requires_grad_(), y.long(), reduction=reduction)
    assert loss.is_meta and loss.shape == ((7,) if reduction == "none" else ())
    loss.sum().backward()
    assert x.grad.is_meta and x.grad.shape == x.shape and W.grad.shape == W.shape


def test_negated_views_are_read_as_what_they_say():
    x, W, _, y = problem(torch.float32, (7,), "index")
    assert torch.equal(linear_cross_entropy(torch._neg_view(x), W, y), linear_cross_entropy(-x, W, y))
