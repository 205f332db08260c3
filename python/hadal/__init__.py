"""hadal: systems for mixture-of-experts models. One module per system: hadal.eplb, hadal.trace."""

from . import eplb, trace
from .eplb import rebalance_experts

__all__ = ["eplb", "rebalance_experts", "trace"]
