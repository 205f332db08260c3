from collections.abc import Sequence
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Policy = Literal["auto", "reference", "optimal", "incremental"]
Scope = Literal["auto", "hierarchical", "global"]
Ties = Literal["stable", "torch"]
Dispatch = Literal["equal", "weighted"]

@final
class Plan:
    num_layers: int
    num_experts: int
    num_slots: int
    num_groups: int
    num_nodes: int
    num_gpus: int
    policy: Literal["reference", "optimal", "incremental"]
    scope: Literal["hierarchical", "global"]
    dispatch: Dispatch
    cut_short: bool
    gpu_first_slot: NDArray[np.int32]
    phy2log: NDArray[np.int32]
    log2phy: NDArray[np.int32]
    logcnt: NDArray[np.int32]
    dispatch_weight: NDArray[np.float32]
    quality: NDArray[np.void]
    @staticmethod
    def from_phy2log(
        phy2log: ArrayLike,
        *,
        num_experts: int,
        num_gpus: int,
        num_groups: int = ...,
        num_nodes: int = ...,
    ) -> Plan: ...

@final
class Evaluation:
    @final
    class Level:
        max: float
        mean: float
        imbalance: float
        worst_imbalance: float
        balancedness: float

    gpu: Level
    node: Level
    slot: Level
    duplicates: int
    imbalance: NDArray[np.float64]
    gpu_load: NDArray[np.float64]

def rebalance_experts(
    weight: ArrayLike | Any,
    num_replicas: int,
    num_groups: int,
    num_nodes: int,
    num_gpus: int,
    *,
    policy: Policy = ...,
    ties: Ties = ...,
    threads: int = ...,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]: ...
def plan(
    load: ArrayLike | Any,
    *,
    num_replicas: int,
    num_gpus: int,
    num_groups: int = ...,
    num_nodes: int = ...,
    policy: Policy = ...,
    previous: Plan | None = ...,
    scope: Scope = ...,
    ties: Ties = ...,
    dispatch: Dispatch = ...,
    gpu_capacity: ArrayLike = ...,
    gpu_speed: ArrayLike = ...,
    failed_gpus: ArrayLike = ...,
    pins: Sequence[tuple[int, int, int]] = ...,
    min_nodes_per_expert: int = ...,
    max_replicas_per_expert: int = ...,
    steps_max: int = ...,
    budget_ms: float = ...,
    seed: int = ...,
    moves_max: float | None = ...,
    move_cost: tuple[float, float, float] | None = ...,
    tolerance: float = ...,
    threads: int = ...,
) -> Plan: ...
def evaluate(
    plan: Plan, load: ArrayLike | Any, *, gpu_speed: ArrayLike = ...
) -> Evaluation: ...
