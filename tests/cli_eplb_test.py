"""`hadal eplb plan` and `show` from files to files."""

import json
import os
import random
import xml.etree.ElementTree

import cli
from cli import CliTest, hadal

# The published example: two layers of 12 experts in 4 groups, 16 slots on 8 GPUs in 2 nodes.
EXAMPLE = {
    "weight": [[90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
               [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27]],
    "num_replicas": 16, "num_groups": 4, "num_nodes": 2, "num_gpus": 8,
}
EXAMPLE_PHY2LOG = [[5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1],
                   [7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1]]
PLAN_KEYS = ["hadal_plan", "policy", "scope", "dispatch", "num_layers", "num_experts",
             "num_replicas", "num_groups", "num_nodes", "num_gpus", "gpu_first_slot", "phy2log",
             "log2phy", "logcnt", "cut_short", "layers"]


def drifting_loads(windows, layers, experts, seed=1):
    draw = random.Random(seed)
    base = [[draw.lognormvariate(0, 1) for _ in range(experts)] for _ in range(layers)]
    return [[[round(1000 * x * draw.lognormvariate(0, 0.05)) for x in row] for row in base]
            for _ in range(windows)]


class Plan(CliTest):
    def setUp(self):
        super().setUp()
        self.example = self.file("example.json", json.dumps(EXAMPLE))

    def plan(self, *arguments, **options):
        return self.json("eplb", "plan", "--json", *arguments, **options)

    def test_keys(self):
        plan = self.plan("-i", self.example)
        self.assertEqual(list(plan), PLAN_KEYS)
        self.assertEqual(list(plan["layers"][0]), ["max", "mean", "imbalance", "lower_bound", "gap",
                                                   "moves"])
        self.assertEqual((plan["hadal_plan"], plan["policy"]), (1, "optimal"))
        weighted = self.plan("-i", self.example, "--dispatch", "weighted")
        self.assertEqual(sorted(weighted), sorted(PLAN_KEYS + ["dispatch_weight"]))

    def test_reference_is_the_published_answer(self):
        for ties in ("stable", "torch"):
            plan = self.plan("-i", self.example, "--policy", "reference", "--ties", ties)
            self.assertEqual(plan["phy2log"], EXAMPLE_PHY2LOG)
            self.assertEqual((plan["policy"], plan["scope"]), ("reference", "hierarchical"))

    def test_optimal_is_no_worse_than_reference(self):
        best = self.plan("-i", self.example)
        reference = self.plan("-i", self.example, "--policy", "reference")
        for ours, theirs in zip(best["layers"], reference["layers"]):
            self.assertLessEqual(ours["max"], theirs["max"])
            self.assertLessEqual(ours["lower_bound"], ours["max"])

    def test_same_input_same_plan(self):
        one = self.ok("eplb", "plan", "-i", self.example, "--json", "--threads", 1)
        self.assertEqual(one, self.ok("eplb", "plan", "-i", self.example, "--json", "--threads", 4))

    def test_output_is_what_json_prints(self):
        path = self.path("plan.json")
        text = self.ok("eplb", "plan", "-i", self.example, "-o", path)
        with open(path) as file:
            self.assertEqual(file.read(), self.ok("eplb", "plan", "-i", self.example, "--json"))
        self.assertIn(f"written to {path}", text)
        self.assertEqual(sorted(os.listdir(self.directory)), ["example.json", "plan.json"])

    def test_human_output(self):
        text = self.ok("eplb", "plan", "-i", self.example)
        self.assertIn("16 slots on 8 GPUs in 2 nodes", text)
        self.assertIn("policy   optimal, hierarchical", text)
        self.assertIn("there is no previous plan", text)
        many = self.file("many.json", json.dumps(drifting_loads(1, 30, 16)))
        text = self.ok("eplb", "plan", "-i", many, "--num-gpus", 4, "--num-replicas", 20)
        self.assertIn("contiguous", text)
        self.assertIn("25 more layers: max/mean", text)

    def test_shape_from_options_and_standard_input(self):
        csv = b"5,1,1,1\n1,5,1,1\n"
        plan = self.plan("-i", "-", "--num-gpus", 2, "--num-replicas", 6, stdin=csv)
        self.assertEqual((plan["num_layers"], plan["num_replicas"]), (2, 6))
        self.fails(2, "standard input does not say num_gpus; give --num-gpus", "eplb", "plan", "-i",
                   "-", stdin=csv)
        self.fails(2, "standard input does not say num_replicas; give --num-replicas", "eplb",
                   "plan", "-i", "-", "--num-gpus", 2, stdin=csv)

    def test_incremental(self):
        loads = self.file("loads.json", json.dumps(drifting_loads(2, 4, 32)))
        shape = ("--num-gpus", 8, "--num-replicas", 40)
        first = self.path("first.json")
        self.ok("eplb", "plan", "-i", loads, *shape, "--window", "0:1", "-o", first)
        plan = self.plan("-i", loads, *shape, "--window", "1:2", "--previous", first,
                         "--max-moves", 6)
        self.assertEqual(plan["policy"], "incremental")
        self.assertLessEqual(sum(layer["moves"] for layer in plan["layers"]), 6)
        same = self.plan("-i", loads, *shape, "--window", "0:1", "--previous", first)
        self.assertEqual(sum(layer["moves"] for layer in same["layers"]), 0)
        text = self.ok("eplb", "plan", "-i", loads, *shape, "--window", "1:2", "--previous", first)
        self.assertIn("there is a previous plan", text)
        self.assertRegex(text, r"\d+ moves? from the previous plan")

    def test_constraints(self):
        loads = self.file("loads.json", json.dumps(drifting_loads(1, 3, 12)))
        plan = self.plan("-i", loads, "--num-gpus", 4, "--num-nodes", 2, "--capacity", "6,5,4,5",
                         "--pin", "3:2", "--pin", "1:5:0", "--max-replicas", 3)
        self.assertEqual(plan["gpu_first_slot"], [0, 6, 11, 15, 20])
        for row in plan["phy2log"]:
            self.assertIn(3, row[11:15])
        self.assertIn(5, plan["phy2log"][1][0:6])
        self.assertLessEqual(max(max(row) for row in plan["logcnt"]), 3)
        failed = self.plan("-i", loads, "--num-gpus", 4, "--num-replicas", 20, "--failed", "1")
        for row in failed["phy2log"]:
            self.assertEqual(set(row[5:10]), {-1})
        self.fails(2, "--pin is '1:2:'; it must be EXPERT:GPU or LAYER:EXPERT:GPU", "eplb", "plan",
                   "-i", loads, "--num-gpus", 4, "--num-replicas", 20, "--pin", "1:2:")

    def test_bad_shapes_are_sentences(self):
        for options, words in {
            ("--num-replicas", 11): ("num_replicas", "12"),
            ("--num-nodes", 3): ("num_nodes", "num_gpus"),
            ("--num-groups", 5): ("num_groups", "num_experts"),
        }.items():
            done = hadal("eplb", "plan", "-i", self.example, *options)
            self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
            for word in words:
                self.assertIn(word, done.stderr)

    def test_a_plan_of_another_shape(self):
        other = self.file("other.csv", "1,2,3\n")
        plan = self.path("plan.json")
        self.ok("eplb", "plan", "-i", self.example, "-o", plan)
        self.fails(2, f"{plan} is for 2 layers x 12 experts, but {other} has 1 x 3", "eplb", "plan",
                   "-i", other, "--num-gpus", 1, "--num-replicas", 3, "--previous", plan)

    def test_plan_then_evaluate_on_a_later_window(self):
        loads = self.file("loads.json", json.dumps(drifting_loads(4, 6, 32)))
        plan = self.path("plan.json")
        self.ok("eplb", "plan", "-i", loads, "--num-gpus", 8, "--num-replicas", 40, "--window",
                "0:2", "-o", plan)
        own = self.json("eplb", "evaluate", "-p", plan, "-l", loads, "--window", "0:2", "--json")
        later = self.json("eplb", "evaluate", "-p", plan, "-l", loads, "--window", "2:4", "--json")
        with open(plan) as file:
            layers = json.load(file)["layers"]
        for scored, planned in zip(own["layer_imbalance"], layers):
            self.assertAlmostEqual(scored, planned["imbalance"], places=9)
        self.assertGreaterEqual(later["gpu"]["imbalance"], 1)

    def test_full_disk(self):
        done = hadal("eplb", "plan", "-i", self.example, "-o", "/dev/full")
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertEqual(done.stderr, "hadal: cannot write /dev/full: No space left on device\n")
        self.fails(2, "write /nonexistent/p: No such file or directory", "eplb", "plan", "-i",
                   self.example, "-o", "/nonexistent/p")


class Show(CliTest):
    def setUp(self):
        super().setUp()
        self.loads = self.file("loads.json", json.dumps(drifting_loads(1, 5, 16)))
        self.shape = ("--num-gpus", 4, "--num-replicas", 20)

    def test_text(self):
        text = self.ok("eplb", "show", "-i", self.loads, *self.shape)
        self.assertIn("before: contiguous, no replicas", text)
        self.assertIn("after: optimal", text)
        self.assertNotIn("\x1b", text)
        self.assertLessEqual(max(map(len, text.splitlines())), 100)

    def test_one_layer(self):
        text = self.ok("eplb", "show", "-i", self.loads, *self.shape, "--layer", 3)
        self.assertEqual(text.count("layer 3: max/mean"), 2)
        self.fails(2, "--layer is 5; it must be below 5", "eplb", "show", "-i", self.loads,
                   *self.shape, "--layer", 5)

    def test_json(self):
        out = self.json("eplb", "show", "-i", self.loads, *self.shape, "--json")
        self.assertEqual(list(out), ["before", "after"])
        self.assertEqual(list(out["after"]), ["title", "num_gpus", "imbalance", "worst_imbalance",
                                              "layers"])
        self.assertEqual(len(out["after"]["layers"]), 5)
        for before, after in zip(out["before"]["layers"], out["after"]["layers"]):
            self.assertAlmostEqual(sum(before["gpu_load"]), sum(after["gpu_load"]))
            self.assertAlmostEqual(max(after["gpu_load"]) / after["mean"], after["imbalance"])

    def test_svg_of_a_given_plan(self):
        plan, svg = self.path("plan.json"), self.path("map.svg")
        self.ok("eplb", "plan", "-i", self.loads, *self.shape, "-o", plan)
        text = self.ok("eplb", "show", "-i", self.loads, "--plan", plan, "--svg", svg)
        self.assertIn(f"written to {svg}", text)
        root = xml.etree.ElementTree.parse(svg).getroot()
        space = "{http://www.w3.org/2000/svg}"
        cells = [rect for rect in root.iter(space + "rect") if rect.find(space + "title") is not None]
        self.assertEqual(len(cells), 2 * 5 * 4)


if __name__ == "__main__":
    cli.main()
