from . import eplb as eplb
from . import trace as trace
from .eplb import rebalance_experts as rebalance_experts

__all__ = ["eplb", "rebalance_experts", "trace"]
