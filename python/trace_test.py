"""Tests hadal.trace: columns, analyses as dicts, events, errors.

Run by ctest with PYTHONPATH at the built package.
"""

import gzip
import json
import os
import tempfile
import unittest

import numpy as np

import hadal


def kernel(name, ts, dur, stream, correlation):
    return {"ph": "X", "cat": "kernel", "name": name, "pid": 0, "tid": stream, "ts": ts, "dur": dur,
            "args": {"device": 0, "stream": stream, "correlation": correlation, "grid": [132, 1, 1],
                     "block": [128, 1, 1], "registers per thread": 64, "shared memory": 0}}


def call(ts, correlation):
    return {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 7, "tid": 7, "ts": ts,
            "dur": 2, "args": {"correlation": correlation}}


DOCUMENT = {"schemaVersion": 1, "distributedInfo": {"rank": 3, "world_size": 8}, "traceEvents": [
    {"ph": "X", "cat": "user_annotation", "name": "attn", "pid": 7, "tid": 7, "ts": 1000, "dur": 50},
    call(1001, 11), call(1004, 12),
    kernel("gemm", 1100, 100, 7, 11),
    kernel("ncclDevKernel_AllReduce", 1150, 100, 9, 12)]}


class TraceTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "trace.json")
        with open(self.path, "w") as file:
            json.dump(DOCUMENT, file)

    def tearDown(self):
        self.folder.cleanup()

    def test_columns_are_views_in_nanoseconds(self):
        trace = hadal.trace.load(self.path)
        self.assertEqual(len(trace), 5)
        columns = trace.columns
        self.assertEqual(columns["start_ns"].dtype, np.int64)
        self.assertFalse(columns["start_ns"].flags.writeable)
        self.assertFalse(columns["start_ns"].flags.owndata)
        kernels = columns["category"] == hadal.trace.KERNEL
        self.assertEqual(sorted(trace.names[i] for i in columns["name"][kernels]),
                         ["gemm", "ncclDevKernel_AllReduce"])
        self.assertEqual(columns["duration_ns"][kernels].sum(), 200_000)
        self.assertEqual(columns["start_ns"].min(), 0)
        del trace
        self.assertEqual(columns["start_ns"].min(), 0)  # the arrays keep their trace

    def test_analyses(self):
        trace = hadal.trace.load(self.path)
        summary = trace.summary()
        self.assertEqual(summary["span_us"], 150.0)
        self.assertEqual(summary["overlap_us"], 50.0)
        self.assertEqual(summary["exposed_communication_us"], 50.0)
        self.assertEqual(trace.summary(window="100:150")["span_us"], 50.0)
        self.assertEqual(trace.regions()[0]["name"], "attn")
        self.assertEqual(trace.comm()["transfer"]["count"], 1)
        self.assertEqual({s["stream"] for s in trace.streams()}, {7, 9})
        self.assertEqual(trace.kernels()["kernels"][0]["count"], 1)
        self.assertTrue(trace.findings()["cannot_tell"])
        for method in ("overlap", "gates", "launch", "occupancy", "waves", "contention", "roofline", "critical"):
            self.assertTrue(getattr(trace, method)(), method)
        activities = trace.activities()
        self.assertEqual(list(activities["class"]), [0, 1])
        self.assertEqual(trace.names[trace.columns["name"][activities["region_row"][0]]], "attn")

    def test_metadata_and_events(self):
        trace = hadal.trace.load(self.path)
        self.assertEqual((trace.rank, trace.world_size), (3, 8))
        self.assertTrue(trace.health["clean"])
        row = int(trace.activities()["row"][0])
        self.assertEqual(trace.event(row)["args"]["grid"], [132, 1, 1])
        with self.assertRaises(IndexError):
            trace.event(5)

    def test_gzip_is_the_same(self):
        packed = self.path + ".gz"
        with gzip.open(packed, "wt") as file:
            json.dump(DOCUMENT, file)
        self.assertEqual(hadal.trace.load(packed).summary(), hadal.trace.load(self.path).summary())

    def test_errors(self):
        with self.assertRaises(FileNotFoundError):
            hadal.trace.load(self.path + ".missing")
        with open(self.path, "w") as file:
            file.write("this is not a trace")
        with self.assertRaisesRegex(ValueError, "trace.json"):
            hadal.trace.load(self.path)
        with open(self.path, "w") as file:
            json.dump(DOCUMENT, file)
        with self.assertRaisesRegex(ValueError, "window"):
            hadal.trace.load(self.path).summary(window="nonsense")


if __name__ == "__main__":
    unittest.main()
