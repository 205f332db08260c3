"""`hadal trace` on generated jobs with known answers, and on what users do wrong."""

import csv
import io
import json
import os
import random

import cli
from cli import CliTest, hadal

GPU_KEYS = ["span_us", "busy_us", "idle_us", "compute_us", "communication_us", "memory_us",
            "overlap_us", "exposed_communication_us", "exposed_memory_us", "structural_exposed_us",
            "structural_exposed_pieces", "overlap_percent"]
SCHEDULES = ["sequential", "overlapped", "dualpipe", "fsdp", "ddp", "inference", "inference-eager"]
VIEWS = ["summary", "kernels", "streams", "regions", "overlap", "gates", "launch", "comm",
         "findings", "info"]
TRAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "shared", "data",
                     "trace", "train.json")


class Generated(CliTest):
    def generate(self, *arguments):
        """A folder with rank0.json, ... and the answers."""
        folder = self.path("job")
        self.ok("trace", "generate", "-o", folder, *arguments)
        with open(os.path.join(folder, "answers.json"), encoding="utf-8") as file:
            answers = json.load(file)
        return [os.path.join(folder, f"rank{r}.json") for r in range(len(answers["ranks"]))], answers

    def compare(self, path, answers, tolerance=1e-3):
        summary = self.json("trace", "summary", path, "--json")
        self.assertEqual(list(summary["gpu"]), GPU_KEYS)
        for key in GPU_KEYS:
            if key in answers["times"]:
                self.assertAlmostEqual(summary["gpu"][key] or 0, answers["times"][key],
                                       delta=tolerance, msg=(path, key))
        gpu = summary["gpu"]
        self.assertAlmostEqual(gpu["compute_us"] + gpu["exposed_communication_us"] +
                               gpu["exposed_memory_us"] + gpu["idle_us"], gpu["span_us"], places=3)
        self.assertEqual([(r["name"], r["index"], r["events"]) for r in summary["regions"]],
                         [(r["name"], r["index"], r["activities"]) for r in answers["region_list"]])
        for seen, known in zip(summary["regions"], answers["region_list"]):
            self.assertAlmostEqual(seen["busy_us"], known["busy_us"], delta=tolerance)
        return summary

    def test_every_schedule(self):
        for schedule in SCHEDULES:
            with self.subTest(schedule):
                paths, answers = self.generate("--schedule", schedule, "--ranks", 2, "--steps", 2)
                for path, rank in zip(paths, answers["ranks"]):
                    self.compare(path, rank)

    def test_every_generation_of_the_format(self):
        for generation in ("G1", "G2", "G3", "G4"):
            with self.subTest(generation):
                paths, answers = self.generate("--format", generation, "--layers", 2)
                self.compare(paths[0], answers["ranks"][0])
                info = self.json("trace", "info", paths[0], "--json")
                self.assertEqual(info["generation"], generation)
                self.assertTrue(info["health"]["clean"])

    def test_every_view_prints_text_json_and_csv(self):
        paths, _ = self.generate("--layers", 2)
        for view in VIEWS:
            with self.subTest(view):
                self.assertTrue(self.ok("trace", view, paths[0]))
                self.json("trace", view, paths[0], "--json")
                if view != "info":
                    rows = list(csv.reader(io.StringIO(self.ok("trace", view, paths[0], "--csv"))))
                    self.assertTrue(all(len(row) == len(rows[0]) for row in rows))
                    self.assertGreater(len(rows), 1)

    def test_threads_make_no_difference(self):
        paths, _ = self.generate("--layers", 4, "--steps", 4)
        for view in VIEWS:
            one = self.ok("trace", view, paths[0], "--json", "--threads", 1)
            for threads in (2, 5):
                self.assertEqual(self.ok("trace", view, paths[0], "--json", "--threads", threads), one)

    def test_the_order_of_events_makes_no_difference(self):
        paths, answers = self.generate("--layers", 2)
        with open(paths[0], encoding="utf-8") as file:
            document = json.load(file)
        random.Random(5).shuffle(document["traceEvents"])
        with open(paths[0], "w", encoding="utf-8") as file:
            json.dump(document, file)
        self.compare(paths[0], answers["ranks"][0])

    def test_check_is_an_exit_code(self):
        paths, _ = self.generate("--schedule", "sequential")
        self.assertIn("BROKEN", self.ok("trace", "check", paths[0], "--min-overlap", "95%", code=1))
        self.ok("trace", "check", paths[0], "--min-overlap", "0%", "--max-exposed", "100%")
        result = self.json("trace", "check", paths[0], "--max-exposed", "1%", "--json", code=1)
        self.assertFalse(result["holds"])
        self.fails(2, "it must be a percentage", "trace", "check", paths[0], "--max-exposed", "lots")
        self.fails(2, "nothing to check", "trace", "check", paths[0])

    def test_windows(self):
        paths, answers = self.generate("--schedule", "ddp", "--steps", 3)
        whole = self.json("trace", "summary", paths[0], "--json")["gpu"]
        step = self.json("trace", "summary", paths[0], "--json", "--window", "ann:ProfilerStep#1")["gpu"]
        self.assertLess(step["span_us"], whole["span_us"] / 2)
        self.assertGreater(step["busy_us"], whole["busy_us"] / 4)
        self.fails(2, "it must be START:END", "trace", "summary", paths[0], "--window", "soon")


class Mistakes(CliTest):
    def test_files(self):
        self.fails(2, "no-such.json", "trace", "summary", self.path("no-such.json"))
        self.fails(2, "text.json", "trace", "summary", self.file("text.json", "hello"))
        self.fails(2, "empty.json", "trace", "summary", self.file("empty.json", ""))
        self.fails(2, "this command takes one", "trace", "summary", "a.json", "b.json")

    def test_a_trace_of_the_host_only(self):
        path = self.file("cpu.json", json.dumps({"traceEvents": [
            {"ph": "X", "cat": "cpu_op", "name": "aten::add", "pid": 1, "tid": 1, "ts": 5, "dur": 3}]}))
        self.assertIn("no kernels, copies or memsets", self.ok("trace", "summary", path))
        for view in VIEWS:
            done = hadal("trace", view, path, "--json")
            self.assertEqual(done.returncode, 0, view)
            json.loads(done.stdout)

    def test_rules(self):
        path = self.file("t.json", json.dumps([
            {"ph": "X", "cat": "kernel", "name": "ring_exchange", "pid": 0, "tid": 7, "ts": 5, "dur": 3,
             "args": {"device": 0, "stream": 7}}]))
        self.assertEqual(self.json("trace", "summary", path, "--json")["gpu"]["communication_us"], 0)
        rules = self.file("rules.toml", 'transfer = ["^ring_"]\n')
        self.assertEqual(self.json("trace", "summary", path, "--json", "--rules", rules)["gpu"]
                         ["communication_us"], 3)
        bad = self.file("bad.toml", 'transfer = ["*"]\n')
        self.fails(2, "matches every kernel", "trace", "summary", path, "--rules", bad)


class Train(CliTest):
    """DeepSeek's published training trace, where it lies beside the project."""

    def setUp(self):
        super().setUp()
        if not os.path.exists(TRAIN):
            self.skipTest(f"{TRAIN} is not there")

    def test_summary(self):
        summary = self.json("trace", "summary", TRAIN, "--json")
        gpu = summary["gpu"]
        self.assertEqual(gpu["span_us"], 129012)
        self.assertEqual(gpu["exposed_communication_us"], 4162)
        self.assertEqual(gpu["structural_exposed_pieces"], 13)
        self.assertAlmostEqual(gpu["overlap_percent"], 96.32, places=2)
        self.assertEqual(summary["comm"]["barrier"]["sum_us"], 32578)
        self.assertEqual([(s["stream"], s["events"]) for s in summary["streams"]],
                         [(7, 927), (23, 16), (27, 40)])
        self.assertEqual(len(summary["regions"]), 40)
        self.ok("trace", "check", TRAIN, "--max-exposed", "4%", "--min-overlap", "95%")


if __name__ == "__main__":
    cli.main()
