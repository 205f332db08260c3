"""Expert-parallel load balancing: which experts to replicate, and on which GPU each replica lives.

    plan = hadal.eplb.plan(load, num_replicas=288, num_groups=8, num_nodes=4, num_gpus=32)
    plan.phy2log                     # the expert in every slot, [num_layers, num_slots]
    plan.quality["imbalance"].max()  # busiest GPU / mean, of the worst layer

rebalance_experts() is DeepSeek's EPLB, bit for bit. Terms and algorithms: docs/eplb.md.
"""

from ._hadal import Evaluation, Plan, evaluate, plan, rebalance_experts

__all__ = ["Evaluation", "Plan", "evaluate", "plan", "rebalance_experts"]
