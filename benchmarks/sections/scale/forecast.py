"""What a pass takes on many nodes: measured rates, and a simulation of what is sent, received and added up.

Four terms, in seconds:

- *compute*: multiply-adds of a node's rows at the measured rate of our kernels, of the slowest of all nodes;
- *theta*: to all nodes by a tree in which each node that has it sends it on to two others;
- *tasks*: one a node, and one for each join, all of which pass through the scheduler, one after the other;
- *sums*: gradients go up the tree of joins. A node receives those of `FAN_IN` groups one after the other, since they
  share its network card, and adds each as it comes; it is ready when the last is added. Groups begin when their own
  are, so that the simulation is of events, not of levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastsoftmax.dask.workers import FAN_IN


@dataclass(frozen=True)
class Cluster:
    """Assumed nodes and network.

    Attributes
    ----------
    nodes, cores : int
    gigabits : float
        Of a node's network card, each way.
    spread : float
        Relative standard deviation of the nodes' speeds.
    """

    nodes: int
    cores: int = 16
    gigabits: float = 10.0
    spread: float = 0.03


@dataclass(frozen=True)
class Costs:
    """Measured: GFLOP/s of a core, ms of adding up a gradient of 1,000 x 100, of a task in the scheduler, and of a task
    from the client and back."""

    gflops_of_core: float
    join_ms: float
    task_ms: float
    hop_ms: float


@dataclass(frozen=True)
class Problem:
    m: float = 1e9
    n: int = 1_000
    k: int = 100


@dataclass(frozen=True)
class Pass:
    """Seconds of each term; ``bytes`` are those that are sent in all."""

    compute: float
    theta: float
    tasks: float
    sums: float
    bytes: float

    @property
    def total(self) -> float:
        return self.compute + self.theta + self.tasks + self.sums


def simulate(problem: Problem, cluster: Cluster, costs: Costs, seed: int = 0) -> Pass:
    """One pass on a cluster."""
    speeds = 1.0 + cluster.spread * np.abs(np.random.default_rng(seed).standard_normal(cluster.nodes))
    flops = 4.0 * problem.m * problem.n * problem.k / cluster.nodes
    alone = flops / (1e9 * costs.gflops_of_core * cluster.cores)
    done = alone * speeds
    size = problem.n * problem.k
    rate = cluster.gigabits * 1e9 / 8
    levels = math.ceil(math.log2(cluster.nodes + 1)) if cluster.nodes > 1 else 1
    theta = levels * 2 * 4 * size / rate
    joins, ready = 0, sorted(done)
    receive, add = 8 * size / rate, 1e-3 * costs.join_ms * size / 100_000
    while len(ready) > 1:
        groups = [ready[a : a + FAN_IN] for a in range(0, len(ready), FAN_IN)]
        ready = [_joined(group, receive, add, 1e-3 * costs.hop_ms) for group in groups]
        joins += len(groups)
    tasks = 1e-3 * (costs.hop_ms + costs.task_ms * (cluster.nodes + joins))
    sent = 4.0 * size * cluster.nodes + 8.0 * size * (cluster.nodes + joins)
    return Pass(float(done.max()), theta, tasks, float(ready[0] - done.max()), sent)


def _joined(ready: list[float], receive: float, add: float, hop: float) -> float:
    """When a group is received and added up, from when each of its members is ready."""
    clock = 0.0
    for start in sorted(ready):
        clock = max(clock, start) + receive + add
    return clock + hop
