"""hadal: systems for mixture-of-experts models. One module per system; now hadal.eplb."""

from . import eplb
from .eplb import rebalance_experts

__all__ = ["eplb", "rebalance_experts"]
