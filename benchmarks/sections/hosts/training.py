"""Training steps in PyTorch: forward, backward and an update by SGD, with each way of the last layer in turn.

A multilayer perceptron on digits, where the loss is a small part of the step, and the head of a language model, where
it is all of it. Each way trains a model of its own from the same start; before any is timed, the losses of its first
steps are compared with those of PyTorch's plain way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastsoftmax.datasets import load_sample

from ...harness import timing
from ...harness.records import Effort, Json, Say
from ...peers import LAYERS, PEERS, MissingError

STEPS = 3
# Losses of the first steps may differ by this share: float32 products, and bfloat16 ones of a few digits.
SAME = {"float32": 1e-4, "bfloat16": 2e-2}


@dataclass(frozen=True)
class Network:
    """What is trained: rows of a batch, widths of the layers, classes; no ``hidden`` where there is the head alone."""

    name: str
    rows: int
    features: int
    hidden: int
    classes: int

    @property
    def shape(self) -> str:
        widths = [self.features, self.hidden, self.classes] if self.hidden else [self.features, self.classes]
        return f"{self.rows:,} × {' → '.join(f'{width:,}' for width in widths)}"


NETWORKS = (Network("MLP on digits", 256, 64, 128, 10), Network("head of a language model", 2_048, 512, 0, 32_000))
QUICK = (Network("MLP on digits", 64, 64, 16, 10),)


def rows_of(network: Network, dtype: Any) -> tuple[Any, Any]:
    """A batch: digits, or hidden states of a language model as its body would have made them."""
    import torch

    torch.manual_seed(0)
    if network.hidden:
        X, y, *_ = load_sample("digits")
        pixels = torch.from_numpy(X[: network.rows] / 16.0).to(dtype)
        return pixels, torch.from_numpy(y[: network.rows].astype("int64"))
    hidden = torch.randn(network.rows, network.features, dtype=dtype, requires_grad=True)
    return hidden, torch.randint(0, network.classes, (network.rows,))


def step_of(network: Network, dtype: Any, way: str) -> Callable[[], float]:
    """A training step by one way of the last layer; returns the loss."""
    import torch

    from ...peers.hosts.torch_layer import loss_of

    loss_function, (x, y) = loss_of(way), rows_of(network, dtype)
    width = network.hidden or network.features
    body = torch.nn.Linear(network.features, width, dtype=dtype) if network.hidden else None
    head = torch.nn.Parameter(torch.randn(network.classes, width).mul_(width**-0.5).to(dtype))
    optimizer = torch.optim.SGD([head, *(body.parameters() if body else [x])], lr=0.1)

    def step() -> float:
        optimizer.zero_grad()
        hidden = torch.relu(body(x)) if body else x
        loss = loss_function(hidden, head, y)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def first_losses(step: Callable[[], float]) -> list[float]:
    return [step() for _ in range(STEPS)]


def together(network: Network, dtype: str, effort: Effort, names: Sequence[str] = LAYERS["torch"]) -> Json:
    """Times of a step by these ways, in turn."""
    import torch

    torch.set_num_threads(effort.n_threads)
    rivals: Json = {}
    steps: dict[str, Callable[[], float]] = {}
    wanted = first_losses(step_of(network, getattr(torch, dtype), "eager"))
    for name in names:
        try:
            step = step_of(network, getattr(torch, dtype), PEERS[name].options["way"])
            losses = first_losses(step)
        except (MissingError, RuntimeError, NotImplementedError) as error:
            rivals[name] = {"missing": f"{type(error).__name__}: {error}"[:200]}
            continue
        off = max(abs(a / b - 1.0) for a, b in zip(losses, wanted, strict=True))
        rivals[name] = {"off": off}
        if off > SAME[dtype]:
            rivals[name]["missing"] = f"wrong losses: {off:.1e} off"
            continue
        steps[name] = step
    for name, each in timing.interleave(steps, effort.rounds, budget=effort.budget).items():
        rivals[name].update(ms=timing.median(each), spread=timing.spread(each), rounds=len(each))
    return {"network": network.name, "shape": network.shape, "dtype": dtype, "rivals": rivals}


def run(effort: Effort, say: Say) -> list[Json]:
    return list(records(effort, say))


def records(effort: Effort, say: Say) -> Iterator[Json]:
    for network in QUICK if effort.quick else NETWORKS:
        for dtype in SAME:
            say(f"{network.name}, {dtype}")
            yield together(network, dtype, effort)
