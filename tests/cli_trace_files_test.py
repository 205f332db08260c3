"""`hadal trace` on several traces, and traces made from traces: cut, merge, ranks, diff, query."""

import json

import cli
from trace_job import TraceTest, column_sum

PARTS = ["compute_us", "exposed_communication_us", "exposed_memory_us", "idle_us"]


class Several(TraceTest):
    def summary(self, path, *options):
        return self.json("trace", "summary", path, *options, "--json")

    def gpu(self, path, *options):
        return self.summary(path, *options)["gpu"]


class Cut(Several):
    JOB = ("--ranks", 1, "--layers", 2, "--steps", 3, "--schedule", "ddp")

    def cut(self, window, name="cut.json"):
        out = self.path(name)
        written = self.json("trace", "cut", self.paths[0], "--window", window, "-o", out, "--json")
        self.assertEqual((written["output"], written["lost_events"], written["truncated"]),
                         (out, 0, []))
        self.assertEqual(self.json("trace", "info", out, "--json")["events"], written["rows"])
        return out

    def shift(self, out):
        """How much earlier the same kernel is in the cut trace."""
        starts = [{e["correlation"]: e["start_us"] for e in self.json(
            "trace", "query", path, "cat=kernel", "--json", "--limit", 10**6)["events"]}
            for path in (self.paths[0], out)]
        shifts = [round(1000 * (starts[0][c] - start)) for c, start in starts[1].items()]
        self.assertEqual(min(shifts), max(shifts))
        return shifts[0]

    def test_an_annotation_is_what_the_window_shows(self):
        for step in range(1, 4):
            window = f"ann:ProfilerStep#{step}"
            with self.subTest(window):
                out = self.cut(window)
                self.assertEqual(self.gpu(out), self.gpu(self.paths[0], "--window", window))
                seen = self.summary(out)["streams"]
                self.assertEqual(seen, self.summary(self.paths[0], "--window", window)["streams"])

    def test_any_window(self):
        for start, end in ((0, 20_000_000), (30_000_000, 60_000_000), (1_000_000, 1_500_000)):
            with self.subTest((start, end)):
                out = self.cut(f"{start}ns:{end}ns")
                shift = self.shift(out)
                same = f"{start - shift}ns:{end - shift}ns"
                self.assertEqual(self.gpu(out, f"--window={same}"),
                                 self.gpu(self.paths[0], "--window", f"{start}ns:{end}ns"))
                # Launches come along however long ago they were.
                launch = self.json("trace", "launch", out, "--json")
                self.assertEqual(launch["unlinked_activities"], 0)

    def test_everything_is_everything(self):
        out = self.cut("0:1000s")
        for verb in ("summary", "kernels", "streams", "launch", "critical", "gates"):
            seen = self.json("trace", verb, out, "--json")
            if verb == "summary":
                seen["trace"] = self.paths[0]
            self.assertEqual(seen, self.json("trace", verb, self.paths[0], "--json"), verb)

    def test_compressed_and_in_place(self):
        window = "ann:ProfilerStep#1"
        plain = self.gpu(self.cut(window))
        for name in ("cut.json.gz", "cut.json.zst"):
            self.assertEqual(self.gpu(self.cut(window, name)), plain)
        out = self.cut("0:1000s", "own.json")
        self.ok("trace", "cut", out, "--window", window, "-o", out)
        self.assertEqual(self.gpu(out), plain)

    def test_a_neighbour_that_only_touches_the_window_is_outside(self):
        path = self.file("three.json", json.dumps([
            {"ph": "X", "cat": "kernel", "name": f"k{i}", "pid": 0, "tid": 7, "ts": 10 * i, "dur": 10,
             "args": {"device": 0, "stream": 7}} for i in range(3)]))
        self.assertEqual([k["name"] for k in self.json("trace", "kernels", path, "--window", "10:20",
                                                       "--json")["kernels"]], ["k1"])
        self.assertEqual([e["name"] for e in self.json("trace", "query", path, "", "--window", "10:20",
                                                       "--json")["events"]], ["k1"])
        out = self.path("middle.json")
        self.assertEqual(self.json("trace", "cut", path, "--window", "10:20", "-o", out,
                                   "--json")["rows"], 1)

    def test_mistakes(self):
        for window, sentence in (("10ms:5ms", "with START before END"), ("5:5", "it must be"),
                                 ("nan:1", "it must be"), ("1e300:2e300", "it must be"),
                                 ("ann:nothing", 'names the annotation "nothing"')):
            self.fails(2, sentence, "trace", "cut", self.paths[0], "--window", window, "-o",
                       self.path("x.json"))


class Merge(Several):
    def merge(self, *options):
        out = self.path("merged.json")
        return self.json("trace", "merge", *self.paths, "-o", out, *options, "--json"), out

    def test_both_ranks_are_in_it(self):
        written, out = self.merge()
        infos = [self.json("trace", "info", path, "--json") for path in self.paths]
        info = self.json("trace", "info", out, "--json")
        self.assertEqual((info["world_size"], info["rank"]), (2, -1))
        self.assertTrue(info["health"]["clean"])
        self.assertEqual(info["categories"],
                         {k: n + infos[1]["categories"][k] for k, n in infos[0]["categories"].items()})
        self.assertEqual(info["flows"], sum(i["flows"] for i in infos))
        self.assertEqual(info["events"], written["rows"])
        for rank, path in enumerate(self.paths):
            self.assertEqual(self.gpu(out, "--device", rank), self.gpu(path))
            merged, own = (self.json("trace", "launch", *words, "--json")["streams"]
                           for words in ((out, "--device", rank), (path,)))
            self.assertEqual(merged, own, "each rank keeps its own launches")
        self.assertIn("this is device", self.ok("trace", "summary", out))

    def test_query_sees_all_devices(self):
        _, out = self.merge()

        def found(path, *words):
            return self.json("trace", "query", path, "class=communication", "--json", "--limit", 10**6,
                             *words)["events"]

        single = [len(found(path)) for path in self.paths]
        self.assertEqual(len(found(out)), sum(single))
        for rank in (0, 1):
            events = found(out, "--device", rank)
            self.assertEqual({e["device"] for e in events}, {rank})
            self.assertEqual(len(events), single[rank])
            regions = [e.get("region") for e in found(self.paths[rank])]
            self.assertEqual([e.get("region") is None for e in events], [r is None for r in regions])

    def test_clock_offsets(self):
        """The ends of barriers fall together once the clocks are set right."""
        paths, answers = self.generate("--ranks", 2, "--layers", 2, "--clock-offset", "5ms")
        found = self.json("trace", "ranks", *paths, "--json")["ranks"]
        self.assertGreater(abs(answers["ranks"][1]["clock_offset_us"]), 1)
        out = self.path("merged.json")

        def ends(*options):
            self.ok("trace", "merge", *paths, "-o", out, *options)
            events = [self.json("trace", "query", out, "name~cached_notify cat=kernel", "--device",
                                rank, "--json")["events"] for rank in (0, 1)]
            return [[e["start_us"] + e["duration_us"] for e in of_rank] for of_rank in events]

        apart = ends()
        for a, b in zip(*apart, strict=True):
            self.near(b - a, answers["ranks"][1]["clock_offset_us"])
        together = ends("--clock-offsets", ",".join(str(r["offset_us"]) for r in found))
        for a, b in zip(*together, strict=True):
            self.assertAlmostEqual(a, b, delta=0.002)

    def test_mistakes(self):
        out = self.path("merged.json")
        for offsets, sentence in (("0", "1 clock offsets for 2 traces"), ("0,nan", "--clock-offsets"),
                                  ("0,1e16", "offsets are up to 1e15 us"), ("a,b", "a number")):
            self.fails(2, sentence, "trace", "merge", *self.paths, "-o", out, "--clock-offsets",
                       offsets)


class Ranks(Several):
    def test_clocks_and_waits(self):
        paths, answers = self.generate("--ranks", 3, "--layers", 2, "--clock-offset", "5ms",
                                       "--fault", "straggler:1:30%")
        use = self.json("trace", "ranks", *reversed(paths), "--json")
        ranks, known = sorted(use["ranks"], key=lambda r: r["rank"]), answers["ranks"]
        for rank in ranks:
            truth = known[rank["rank"]]
            self.assertEqual(rank["collectives"], answers["num_collectives"])
            self.assertAlmostEqual(rank["offset_us"] - ranks[0]["offset_us"],
                                   truth["clock_offset_us"] - known[0]["clock_offset_us"], delta=0.01)
            self.assertAlmostEqual(rank["wait_us"], truth["collective_wait_us"], delta=0.5)
            self.assertEqual(rank["last"], truth["last_at_collectives"])
        self.assertEqual(use["straggler"]["rank"], 1)
        self.assertEqual(use["straggler"]["rank"], answers["straggler"])
        self.assertTrue(use["straggler"]["stands_out"])
        self.assertAlmostEqual(use["straggler"]["lead_us"], answers["straggler_lead_us"], delta=0.5)
        self.assertEqual(use["slowest_compute"]["rank"], 1)
        self.near(sum(k["wait_us"] for k in use["kinds"]), sum(r["wait_us"] for r in ranks))
        self.assertEqual(sum(k["count"] for k in use["kinds"]), answers["num_collectives"])
        self.assertIn("late: rank 1", self.ok("trace", "ranks", *paths))

    def test_drift_over_seconds(self):
        paths, answers = self.generate("--ranks", 2, "--layers", 4, "--steps", 12,
                                       "--clock-drift-ppm", 40)
        ranks = self.json("trace", "ranks", *paths, "--json")["ranks"]
        drift = answers["ranks"][1]["clock_drift_ppm"] - answers["ranks"][0]["clock_drift_ppm"]
        self.assertGreater(abs(drift), 1)
        self.assertAlmostEqual(ranks[1]["drift_ppm"] - ranks[0]["drift_ppm"], drift, delta=0.5)

    def test_alone_and_twice(self):
        text = self.ok("trace", "ranks", self.paths[0])
        self.assertTrue(text.startswith("1 rank, 0 collectives matched; clocks taken as they are\n"))
        self.assertIn("one trace alone has nobody to be compared with", text)
        self.assertIn("1 of 2 ranks have no trace here (1)", text)
        self.fails(2, "are both traces of rank 0", "trace", "ranks", self.paths[0], self.paths[0])


class Diff(Several):
    def setUp(self):
        super().setUp()
        self.other = self.generate("--ranks", 1, "--layers", 3, "--steps", 2, "--fault",
                                   "slow-link:0:50%")[0][0]

    def check(self, before, after):
        diff = self.json("trace", "diff", before, after, "--json")
        delta = diff["delta"]
        self.assertEqual((diff["a"], diff["b"]), (self.gpu(before), self.gpu(after)))
        self.near(sum(delta[part] for part in PARTS), delta["span_us"])
        for part in ("span_us", *PARTS):
            self.near(diff["b"][part] - diff["a"][part], delta[part], part)
        for table in ("kernels", "families", "regions"):
            rows = diff[table]
            self.near(sum(r["owned_delta_us"] for r in rows) + delta["idle_us"], delta["span_us"], table)
            for r in rows:
                self.near(r["by_count_us"] + r["by_duration_us"], r["sum_delta_us"], r["name"])
                self.near(r["b"]["sum_us"] - r["a"]["sum_us"], r["sum_delta_us"], r["name"])
                self.near(r["b"]["owned_us"] - r["a"]["owned_us"], r["owned_delta_us"], r["name"])
        rows = self.csv("trace", "diff", before, after)
        self.near(float(rows[-1]["delta_us"]), delta["span_us"])
        self.near(column_sum(rows[:-1], "delta_us"), delta["span_us"])
        return diff

    def test_the_parts_add_up(self):
        diff = self.check(self.paths[0], self.other)
        self.assertGreater(diff["delta"]["span_us"], 0)  # a layer more
        back = self.check(self.other, self.paths[0])
        parts = {(r["name"], r["by_count_us"], r["by_duration_us"]) for r in diff["kernels"]}
        self.assertEqual(parts, {(r["name"], -r["by_count_us"], -r["by_duration_us"])
                                 for r in back["kernels"]})

    def test_nothing_changes_against_itself(self):
        diff = self.check(self.paths[0], self.paths[0])
        self.assertEqual(set(diff["delta"].values()), {0})
        self.assertTrue(all(m["in_a"] and m["in_b"] for m in diff["matched_regions"]))

    def test_slower_transfers_are_all_duration(self):
        paths, answers = self.generate("--ranks", 1, "--layers", 2, "--steps", 2, "--fault",
                                       "slow-link:0:50%")
        diff = self.check(self.paths[0], paths[0])
        row = {r["name"]: r for r in diff["families"]}["communication"]
        self.assertEqual(row["by_count_us"], 0)
        self.assertGreater(row["by_duration_us"], 0.9 * answers["faults"][0]["extra_us"])

    def test_takes_two(self):
        self.fails(2, "one was given", "trace", "diff", self.paths[0])
        self.fails(2, "3 were given", "trace", "diff", *self.paths, self.other)


class Query(Several):
    def test_over_all_ranks(self):
        def found(*words):
            return self.json("trace", "query", *words, "--json", "--limit", 10**6)

        both = found(*self.paths, "cat=kernel")
        single = [found(path, "cat=kernel") for path in self.paths]
        self.assertEqual(both["found"], sum(s["found"] for s in single))
        starts = [e["start_us"] for e in both["events"]]
        self.assertEqual(starts, sorted(starts))
        for rank in (0, 1):
            of_rank = found(*self.paths, f"cat=kernel rank={rank}")
            self.assertEqual(of_rank, single[rank])
            self.assertEqual({e["id"].split(":")[0] for e in of_rank["events"]}, {str(rank)})
        rows = self.csv("trace", "query", *self.paths, "cat=kernel dur>1ms", "--limit", 10**6)
        self.near(column_sum(rows, "duration_us"), sum(
            e["duration_us"] for e in both["events"] if e["duration_us"] > 1000))


if __name__ == "__main__":
    cli.main()
