"""Tests the Python package: golden plans of the reference, dtypes, views, errors, threads.

Run by ctest with PYTHONPATH at the built package and HADAL_SOURCE_DIR at the tree.
"""

import contextlib
import glob
import io
import json
import os
import re
import sys
import threading
import time
import unittest

import numpy as np

import hadal

README_LOAD = [[90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
               [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27]]
README = {"num_replicas": 16, "num_groups": 4, "num_nodes": 2, "num_gpus": 8}
README_PHY2LOG = [[5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1],
                  [7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1]]


def golden():
    pattern = os.path.join(os.environ["HADAL_SOURCE_DIR"], "tests", "golden", "eplb", "*.json")
    for path in sorted(glob.glob(pattern)):
        with open(path, encoding="utf-8") as f:
            yield json.load(f)


def random_load(layers=4, experts=64, seed=1):
    return np.random.default_rng(seed).lognormal(5, 1, (layers, experts))


class FakeTensor:
    """What the module uses of a torch.Tensor, for a dtype that numpy does not know."""

    def __init__(self, values, on_gpu=True, is_numpy_dtype=False):
        self.values, self.on_gpu, self.is_numpy_dtype = values, on_gpu, is_numpy_dtype

    def detach(self):
        return self

    def cpu(self):
        return FakeTensor(self.values, False, self.is_numpy_dtype)

    def _to(self, dtype):
        return FakeTensor(np.asarray(self.values, dtype), self.on_gpu, True)

    def float(self):
        return self._to(np.float32)

    def double(self):
        return self._to(np.float64)

    def long(self):
        return self._to(np.int64)

    def __array__(self, dtype=None):
        if self.on_gpu or not self.is_numpy_dtype:
            raise TypeError("cannot convert this tensor to numpy")
        return np.asarray(self.values, dtype)


class RebalanceExperts(unittest.TestCase):
    def test_golden_plans_of_the_reference(self):
        count = 0
        for case in golden():
            with self.subTest(case["name"]):
                weight = np.array(case["weight"], dtype=case["weight_dtype"])
                result = hadal.rebalance_experts(weight, case["num_replicas"], case["num_groups"],
                                                 case["num_nodes"], case["num_gpus"])
                for array, name in zip(result, ("phy2log", "log2phy", "logcnt")):
                    self.assertEqual(array.dtype, np.int64)
                    np.testing.assert_array_equal(array, case[name], name)
                count += 1
        self.assertGreaterEqual(count, 8)

    def test_positional_and_keyword_arguments_are_the_references(self):
        by_position = hadal.rebalance_experts(README_LOAD, 16, 4, 2, 8)
        by_name = hadal.rebalance_experts(weight=README_LOAD, **README)
        np.testing.assert_array_equal(by_position[0], README_PHY2LOG)
        for a, b in zip(by_position, by_name):
            np.testing.assert_array_equal(a, b)

    def test_every_real_dtype_gives_the_same_plan(self):
        expected = hadal.rebalance_experts(README_LOAD, **README)
        weight = np.array(README_LOAD)
        for dtype in ("i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "g", ">f8"):
            with self.subTest(dtype):
                found = hadal.rebalance_experts(weight.astype(dtype), **README)
                for a, b in zip(expected, found):
                    np.testing.assert_array_equal(a, b)
        ones = hadal.rebalance_experts(weight > 0, **README)
        np.testing.assert_array_equal(
            ones[0], hadal.rebalance_experts(np.ones_like(weight), **README)[0])

    def test_layouts(self):
        weight = np.array(README_LOAD)
        for view in (np.asfortranarray(weight), np.repeat(weight, 2, axis=1)[:, ::2],
                     weight.tolist(), tuple(map(tuple, README_LOAD))):
            np.testing.assert_array_equal(hadal.rebalance_experts(view, **README)[0],
                                          README_PHY2LOG)

    def test_torch_tensors_of_any_device_and_dtype(self):
        found = hadal.rebalance_experts(FakeTensor(README_LOAD), **README)
        np.testing.assert_array_equal(found[0], README_PHY2LOG)
        plan = hadal.eplb.plan(FakeTensor(README_LOAD), **README, policy="reference", ties="torch")
        np.testing.assert_array_equal(plan.phy2log, README_PHY2LOG)

    def test_large_integers_are_rounded_once(self):
        # 2^60 + 2^36 + 1 is nearest to 2^60 + 2^37 in float32, but to 2^60 + 2^36 in float64, a tie
        # that goes to 2^60: rounded twice, the heavy expert were as light as the others.
        heavy, light = 2**60 + 2**36 + 1, 2**60
        weight = np.array([[light, light, heavy, light]])
        phy2log = hadal.rebalance_experts(weight, 6, 1, 1, 2)[0]
        self.assertEqual(phy2log[0].tolist().count(2), 2)

    def test_the_optimal_policy_balances_better(self):
        load = random_load()
        sizes = {"num_replicas": 80, "num_groups": 1, "num_nodes": 1, "num_gpus": 16}

        def busiest(policy):
            phy2log = hadal.rebalance_experts(load, **sizes, policy=policy)[0]
            plan = hadal.eplb.Plan.from_phy2log(phy2log, num_experts=64, num_gpus=16)
            return hadal.eplb.evaluate(plan, load).gpu.max

        self.assertLess(busiest("optimal"), busiest("reference"))


class Plan(unittest.TestCase):
    def setUp(self):
        self.load = random_load()
        self.sizes = {"num_replicas": 80, "num_groups": 8, "num_nodes": 2, "num_gpus": 16}
        self.plan = hadal.eplb.plan(self.load, **self.sizes)

    def test_shapes_and_dtypes(self):
        plan = self.plan
        x = plan.logcnt.max()
        for array, dtype, shape in ((plan.gpu_first_slot, np.int32, (17,)),
                                    (plan.phy2log, np.int32, (4, 80)),
                                    (plan.log2phy, np.int32, (4, 64, x)),
                                    (plan.logcnt, np.int32, (4, 64)),
                                    (plan.dispatch_weight, np.float32, (0, 80)),
                                    (plan.quality["imbalance"], np.float64, (4,)),
                                    (plan.quality["moves"], np.int32, (4,))):
            self.assertEqual((array.dtype, array.shape), (np.dtype(dtype), shape))
        self.assertEqual((plan.policy, plan.scope, plan.dispatch, plan.cut_short),
                         ("optimal", "hierarchical", "equal", False))
        self.assertIn("64 experts in 80 slots on 16 GPUs", repr(plan))

    def test_tables_are_each_others_inverse(self):
        plan = self.plan
        for layer in range(plan.num_layers):
            for expert in range(plan.num_experts):
                count = plan.logcnt[layer, expert]
                slots = plan.log2phy[layer, expert]
                self.assertTrue((plan.phy2log[layer, slots[:count]] == expert).all())
                self.assertTrue((slots[count:] == -1).all())
        self.assertEqual(plan.logcnt.sum(), 4 * 80)

    def test_arrays_are_read_only_views_that_keep_the_plan(self):
        array = self.plan.phy2log
        again = self.plan.phy2log
        self.assertEqual(array.ctypes.data, again.ctypes.data)
        with self.assertRaises(ValueError):
            array[0, 0] = 1
        before = array.copy()
        references = sys.getrefcount(self.plan)
        del again
        self.assertEqual(sys.getrefcount(self.plan), references - 1)
        self.plan = None
        np.testing.assert_array_equal(array, before)

    def test_quality_is_what_evaluate_finds(self):
        found = hadal.eplb.evaluate(self.plan, self.load)
        np.testing.assert_allclose(found.imbalance, self.plan.quality["imbalance"])
        np.testing.assert_allclose(found.gpu_load.max(axis=1), self.plan.quality["max"])
        np.testing.assert_allclose(found.gpu_load.sum(axis=1), self.load.sum(axis=1))
        self.assertEqual(found.gpu_load.shape, (4, 16))
        self.assertAlmostEqual(found.gpu.worst_imbalance, found.imbalance.max())
        self.assertGreaterEqual(found.slot.imbalance, found.gpu.imbalance)
        self.assertGreaterEqual(found.gpu.imbalance, found.node.imbalance)
        self.assertEqual(found.duplicates, 0)

    def test_the_same_arguments_give_the_same_plan(self):
        for threads in (1, 3):
            again = hadal.eplb.plan(self.load, **self.sizes, threads=threads)
            np.testing.assert_array_equal(again.phy2log, self.plan.phy2log)

    def test_a_previous_plan_is_improved_with_few_moves(self):
        load = self.load * np.random.default_rng(2).lognormal(0, 0.05, self.load.shape)
        few = hadal.eplb.plan(load, **self.sizes, previous=self.plan, moves_max=6)
        self.assertEqual(few.policy, "incremental")
        self.assertLessEqual(few.quality["moves"].sum(), 6)
        stale = hadal.eplb.evaluate(self.plan, load).gpu.max
        self.assertLessEqual(hadal.eplb.evaluate(few, load).gpu.max, stale)
        fresh = hadal.eplb.plan(load, **self.sizes, previous=self.plan, policy="optimal")
        self.assertGreater(fresh.quality["moves"].sum(), 6)

    def test_a_plan_made_elsewhere(self):
        plan = hadal.eplb.Plan.from_phy2log(README_PHY2LOG, num_experts=12, num_groups=4,
                                            num_nodes=2, num_gpus=8)
        reference = hadal.eplb.plan(README_LOAD, **README, policy="reference", ties="torch")
        np.testing.assert_array_equal(plan.logcnt, reference.logcnt)
        np.testing.assert_array_equal(hadal.eplb.evaluate(plan, README_LOAD).gpu_load,
                                      hadal.eplb.evaluate(reference, README_LOAD).gpu_load)
        kept = hadal.eplb.plan(README_LOAD, **README, previous=plan, moves_max=0)
        np.testing.assert_array_equal(np.sort(kept.phy2log.reshape(2, 8, 2)),
                                      np.sort(plan.phy2log.reshape(2, 8, 2)))

    def test_constraints(self):
        plan = hadal.eplb.plan(self.load, num_replicas=80, num_gpus=4,
                               gpu_capacity=[26, 26, 26, 2], gpu_speed=np.array([1, 1, 1, 0.1]),
                               pins=[(-1, 7, 3), (0, 8, 2)])
        self.assertEqual(plan.gpu_first_slot.tolist(), [0, 26, 52, 78, 80])
        self.assertTrue((plan.phy2log[:, 78:] == 7).any(axis=1).all())
        self.assertIn(8, plan.phy2log[0, 52:78])
        failed = hadal.eplb.plan(self.load, num_replicas=100, num_gpus=4, failed_gpus=[1])
        self.assertTrue((failed.phy2log[:, 25:50] == -1).all())

    def test_weighted_dispatch(self):
        plan = hadal.eplb.plan(self.load, **self.sizes, dispatch="weighted")
        self.assertEqual(plan.dispatch_weight.shape, (4, 80))
        shares = np.zeros((4, 64))
        for layer in range(4):
            np.add.at(shares[layer], plan.phy2log[layer], plan.dispatch_weight[layer])
        np.testing.assert_allclose(shares, 1, rtol=1e-5)


class Readme(unittest.TestCase):
    def test_the_example_runs(self):
        path = os.path.join(os.environ["HADAL_SOURCE_DIR"], "README.md")
        with open(path, encoding="utf-8") as f:
            example = re.search(r"^```python\n(.*?)^```", f.read(), re.M | re.S)[1]
        names = {}
        with contextlib.redirect_stdout(io.StringIO()):
            exec(example, names)
        self.assertEqual(names["phy2log"].tolist(), README_PHY2LOG)
        self.assertLessEqual(names["plan"].quality["moves"].sum(), 2)


class Errors(unittest.TestCase):
    def fails(self, kind, message, function, *args, **keywords):
        with self.assertRaises(kind) as caught:
            function(*args, **keywords)
        self.assertIn(message, str(caught.exception))

    def test_wrong_values_raise_value_error_with_the_librarys_sentence(self):
        rebalance, plan = hadal.rebalance_experts, hadal.eplb.plan
        self.fails(ValueError, "num_replicas is 11;", rebalance, README_LOAD, 11, 4, 2, 8)
        self.fails(ValueError, "num_layers is 0", rebalance, np.zeros((0, 8)), 8, 1, 1, 1)
        self.fails(ValueError, "num_gpus is 7", rebalance, README_LOAD, 16, 4, 2, 7)
        self.fails(ValueError, "num_nodes", rebalance, README_LOAD, 16, 4, 0, 8)
        self.fails(ValueError, "load", rebalance, [[1.0, float("nan")]], 2, 1, 1, 1)
        self.fails(ValueError, "load", rebalance, [[1.0, -1.0]], 2, 1, 1, 1)
        self.fails(ValueError, "previous", plan, README_LOAD, **README, policy="incremental")
        self.fails(ValueError, "gpu_capacity", plan, README_LOAD, **README, gpu_capacity=[1, 2])

    def test_names(self):
        self.fails(ValueError, 'policy is "best"; it must be one of "auto", "reference"',
                   hadal.eplb.plan, README_LOAD, **README, policy="best")
        self.fails(ValueError, 'ties is ""; it must be one of "stable", "torch"',
                   hadal.rebalance_experts, README_LOAD, **README, ties="")

    def test_shapes_and_dtypes(self):
        rebalance = hadal.rebalance_experts
        self.fails(ValueError, "weight has 1 dimensions; it must have 2", rebalance,
                   README_LOAD[0], **README)
        for wrong in (np.ones((2, 12), complex), np.full((2, 12), "x"),
                      np.zeros((2, 12), "M8[s]")):
            self.fails(TypeError, "it must hold real numbers", rebalance, wrong, **README)
        self.fails(ValueError, "", rebalance, [[1, 2], [3]], **README)
        self.fails(TypeError, "failed_gpus has dtype float64; it must hold integers",
                   hadal.eplb.plan, README_LOAD, **README, failed_gpus=[0.5])
        self.fails(ValueError, "failed_gpus has the value 4294967296; it must fit 32 bits",
                   hadal.eplb.plan, README_LOAD, **README, failed_gpus=[2**32])

    def test_evaluate_needs_a_load_of_the_plans_shape(self):
        plan = hadal.eplb.plan(README_LOAD, **README)
        self.fails(ValueError, "load has shape (12, 2); the plan is for (2, 12)",
                   hadal.eplb.evaluate, plan, np.ones((12, 2)))
        self.fails(ValueError, "gpu_speed", hadal.eplb.evaluate, plan, README_LOAD, gpu_speed=[1])

    def test_plans_from_elsewhere_are_checked(self):
        make = hadal.eplb.Plan.from_phy2log
        self.fails(ValueError, "expert 2", make, [[0, 1, 1]], num_experts=3, num_gpus=1)
        self.fails(ValueError, "3", make, [[0, 1, 3]], num_experts=3, num_gpus=1)
        self.fails(ValueError, "num_gpus is 0", make, [[0, 1]], num_experts=2, num_gpus=0)
        self.fails(ValueError, "num_gpus is 3", make, [[0, 1]], num_experts=2, num_gpus=3)
        self.fails(ValueError, "num_nodes", make, [[0, 1]], num_experts=2, num_gpus=2, num_nodes=0)


class Threads(unittest.TestCase):
    def test_the_interpreter_runs_while_the_library_computes(self):
        load = random_load(layers=400, experts=256)
        turns = 0
        seen = []  # the value of turns when plan() asks for the load's numbers, and at its return

        class Load:
            def __array__(self, dtype=None):
                seen.append(turns)
                return load

        def work():
            hadal.eplb.plan(Load(), num_replicas=288, num_gpus=144)
            seen.append(turns)

        # A thread is not asked to give the lock up for 100 s, so turns grows in between only as the
        # thread itself gives it up: some hundred times if plan() does, once or never if not.
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(100)
        worker = threading.Thread(target=work)
        worker.start()
        while worker.is_alive():
            turns += 1
            time.sleep(0.001)
        before, after = seen
        self.assertGreater(after, before + 5)

    def test_calls_at_the_same_time_do_not_disturb_each_other(self):
        load = random_load()
        sizes = {"num_replicas": 80, "num_gpus": 16}
        expected = hadal.eplb.plan(load, **sizes).phy2log
        found = [None] * 4

        def work(i):
            found[i] = hadal.eplb.plan(load, **sizes).phy2log

        workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        for array in found:
            np.testing.assert_array_equal(array, expected)


if __name__ == "__main__":
    unittest.main()
