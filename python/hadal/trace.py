"""Analysis of PyTorch profiler traces: columns as numpy arrays, analyses as dicts.

    trace = hadal.trace.load("rank0.pt.trace.json.gz")
    trace.summary()["exposed_communication_us"]
    trace.columns["duration_ns"][trace.columns["category"] == hadal.trace.KERNEL].sum()
    trace.findings()["findings"][0]["claim"]

The definitions of all figures: docs/trace.md. The analyses are those of `hadal trace`.
"""

from ._hadal.trace import CATEGORIES, CLASSES, ROLES, Trace, load

KERNEL = CATEGORIES.index("kernel")

__all__ = ["CATEGORIES", "CLASSES", "KERNEL", "ROLES", "Trace", "load"]
