"""`hadal trace` on one trace: its numbers against the answers of the generator, against each other,
and against traces small enough to reckon by hand."""

import collections
import json

import cli
from trace_job import TraceTest, column_sum

SCHEDULES = ["sequential", "overlapped", "dualpipe", "fsdp", "ddp", "inference", "inference-eager"]


class Answers(TraceTest):
    def setUp(self):
        super().setUp()
        self.path0, self.rank0 = self.paths[0], self.answers["ranks"][0]
        self.times = self.rank0["times"]

    def of(self, verb, *options):
        return self.json("trace", verb, self.path0, *options, "--json")

    def test_summary_as_csv(self):
        rows = {row["part"]: float(row["time_us"])
                for row in self.csv("trace", "summary", self.path0)}
        for part, key in (("compute", "compute_us"), ("idle", "idle_us"), ("= span", "span_us"),
                          ("exposed memory", "exposed_memory_us"),
                          ("exposed communication", "exposed_communication_us")):
            self.near(rows.pop(part if part != "= span" else "'= span"), self.times[key], part)
        self.assertEqual(rows, {})

    def test_shortened_names_stay_apart(self):
        paths, _ = self.generate("--schedule", "fsdp", "--ranks", 1)
        lines = self.ok("trace", "summary", paths[0]).split("Phases by layers, busy us\n")[1].splitlines()
        phases = [line.split()[0] for line in lines[1:]]
        self.assertGreater(sum("..." in phase for phase in phases), 2)
        self.assertEqual(len(set(phases)), len(phases))

    def test_kernels(self):
        kernels = self.of("kernels")
        known = {k["name"]: (k["count"], k["total_us"]) for k in self.rank0["kernels"]}
        self.assertEqual({k["name"]: (k["count"], k["sum_us"]) for k in kernels["kernels"]}, known)
        for rows in (kernels["kernels"], kernels["families"]):
            self.near(sum(row["sum_us"] for row in rows), kernels["sum_us"])
            self.assertLessEqual(sum(row["alone_us"] for row in rows), self.times["busy_us"])
        for row in kernels["kernels"]:
            self.assertAlmostEqual(row["mean_us"] * row["count"], row["sum_us"], places=3)
            self.assertTrue(row["min_us"] <= row["median_us"] <= row["p95_us"] <= row["max_us"])
        self.assertAlmostEqual(
            column_sum(self.csv("trace", "kernels", self.path0), "percent"), 100, places=6)

    def test_streams(self):
        streams = self.of("streams")
        events = self.rank0["events"]
        self.assertEqual(sum(s["events"] for s in streams),
                         events["kernel"] + events["gpu_memcpy"] + events["gpu_memset"])
        for stream in streams:
            waits = (stream["host_wait_us"], stream["kernel_wait_us"], stream["other_wait_us"])
            self.near(stream["busy_us"] + sum(waits), stream["end_us"] - stream["start_us"], stream)
            lengths = [gap["length_us"] for gap in stream["gaps"]]
            self.assertEqual(lengths, sorted(lengths, reverse=True))
            self.assertLessEqual(sum(lengths), sum(waits) + 1e-3)

    def test_comm(self):
        comm = self.of("comm")
        self.near(comm["transfer"]["union_us"], self.times["transfer_us"])
        self.near(comm["barrier"]["union_us"], self.times["barrier_us"])
        for role in comm.values():
            self.near(sum(k["sum_us"] for k in role["kernels"]), role["sum_us"])
            self.near(sum(sum(r["sum_us"]) for r in role["by_region"]), role["sum_us"])
        rows = [row for row in self.csv("trace", "comm", self.path0) if row["role"] != "layout"]
        self.assertAlmostEqual(column_sum(rows, "percent"), 100)

    def test_launch(self):
        for schedule in SCHEDULES:
            paths, answers = self.generate("--schedule", schedule, "--ranks", 1, "--layers", 1)
            launch = self.json("trace", "launch", paths[0], "--json")
            known, events = answers["ranks"][0]["launch_delays"], answers["ranks"][0]["events"]
            delay = launch["delay"]
            self.assertEqual((delay["count"], launch["negative_delays"]),
                             (known["count"], known["negative"]))
            self.near(delay["median_us"], known["median_us"])
            self.near(delay["max_us"], known["max_us"])
            self.assertAlmostEqual(delay["mean_us"] * delay["count"], known["total_us"], places=3)
            self.assertEqual(sum(call["count"] for call in launch["api"]),
                             events["cuda_runtime"] + events["cuda_driver"])
            self.assertEqual(launch["launch_bound"], schedule.startswith("inference"), schedule)

    def test_gates_start_where_the_work_of_the_region_does(self):
        starts = {}
        for event in self.json("trace", "query", self.path0, "class=compute or class=memory or "
                               "class=communication", "--json")["events"]:
            starts.setdefault((event.get("region"), event["stream"]), event["start_us"])
        gates = self.of("gates")
        self.assertGreater(len(gates), 10)
        for gate in gates:
            region = f"{gate['region']}#{gate['index']}"
            self.assertEqual(gate["start_us"], starts[region, gate["stream"]])
            self.assertLessEqual(gate["stall_us"], gate["wait_us"])
        self.assertLessEqual(sum(gate["stall_us"] for gate in gates),
                             self.times["span_us"] - self.times["compute_us"])

    def test_critical_path_adds_up_to_the_span(self):
        for schedule in SCHEDULES:
            paths, answers = self.generate("--schedule", schedule, "--ranks", 1, "--layers", 1)
            known = answers["ranks"][0]["critical_path"]
            path = self.json("trace", "critical", paths[0], "--json")
            self.near(path["span_us"], answers["ranks"][0]["times"]["span_us"])
            self.near(sum(path["classes"].values()), path["span_us"])
            at = path["steps"][0]["start_us"]
            for step in path["steps"]:
                self.near(step["start_us"], at, "the steps lie end to end")
                at = step["start_us"] + step["duration_us"]
            # The generator knows what was waited for; the analysis infers it from the times, and
            # where the GPU is always on the heels of the host it may take the one for the other.
            classes = path["classes"]
            delta = (0.05 if schedule == "inference-eager" else 0.002) * path["span_us"]
            for seen, cause in ((classes["compute_us"], known["compute_us"]),
                                (classes["transfer_us"] + classes["barrier_us"],
                                 known["communication_us"]),
                                (classes["memory_us"], known["memory_us"])):
                self.assertAlmostEqual(seen, cause, delta=delta, msg=schedule)

    def test_what_if(self):
        def gains(path, *scenarios):
            options = [word for text in scenarios for word in ("--what-if", text)]
            results = self.json("trace", "critical", path, *options, "--json")["what_if"]
            self.assertEqual([r["scenario"] for r in results], list(scenarios))
            for r in results:
                self.near(r["span_us"] - r["new_span_us"], r["gain_us"])
            return [r["gain_us"] for r in results]

        paths, answers = self.generate("--schedule", "sequential", "--ranks", 1)
        times = answers["ranks"][0]["times"]
        same, half, none = gains(paths[0], "transfer*1", "transfer*0.5", "transfer=0")
        self.assertEqual(same, 0)
        # Nothing hides the communication of this schedule: all of it goes.
        self.assertAlmostEqual(none, times["transfer_us"], delta=0.001 * times["span_us"])
        self.assertAlmostEqual(half, none / 2, delta=0.001 * times["span_us"])
        paths, answers = self.generate("--schedule", "overlapped", "--ranks", 1)
        self.assertLess(gains(paths[0], "transfer=0")[0], 0.001 * times["span_us"])
        for wrong, sentence in (("transfer", "has no * or ="), ("transfer*-1", 'the factor "-1"'),
                                ("warp*2", "warp"), ("", "has no * or =")):
            self.fails(2, sentence, "trace", "critical", paths[0], "--what-if", wrong)

    def test_info(self):
        info, events = self.of("info"), dict(self.rank0["events"])
        categories = collections.Counter(info["categories"])
        categories["other"] += categories.pop("Trace")  # the profiler's own span
        del events["metadata"], events["unreadable"]
        arrows = events.pop("flow_start") + events.pop("flow_finish")
        self.assertEqual(categories, {k: v for k, v in events.items() if v > 0})
        self.assertEqual((info["events"], info["flows"]), (sum(categories.values()), arrows))
        self.assertEqual((info["rank"], info["world_size"]), (0, 2))
        rows = self.csv("trace", "info", *self.paths)
        self.assertEqual([(row["rank"], row["clean"]) for row in rows], [("0", "true"), ("1", "true")])
        self.assertEqual(float(rows[1]["file_bytes"]), self.answers["ranks"][1]["bytes"])

    def test_patterns(self):
        patterns = self.of("patterns")
        kernels = collections.Counter()
        for k in self.of("kernels")["kernels"]:
            kernels[k["short_name"]] += k["count"]
        for s in patterns["sequences"]:
            for name, n in collections.Counter(s["kernels"]).items():
                self.assertLessEqual(n * s["count"], kernels[name])
        # The schedule runs the forward kernels of a layer again before its backward pass.
        self.assertEqual({(r["region"], r["forward"]) for r in patterns["recompute"]},
                         {("attn(B)", "attn(F)"), ("mlp(B)", "mlp(F)")})
        step = [s for s in patterns["sequences"] if s["stream"] == 7][0]
        self.assertEqual(step["count"] * step["length"],
                         len(self.query("cat=kernel stream=7")))

    def query(self, text, *options):
        return self.json("trace", "query", self.path0, text, "--limit", 10**6, *options,
                         "--json")["events"]

    def test_query_against_the_tables(self):
        by_name = collections.defaultdict(list)
        for event in self.query("cat=kernel or cat=gpu_memcpy or cat=gpu_memset"):
            by_name[event["name"]].append(round(event["duration_us"] * 1000))
        self.assertEqual({name: (len(ns), sum(ns) / 1000) for name, ns in by_name.items()},
                         {k["name"]: (k["count"], k["total_us"]) for k in self.rank0["kernels"]})
        for region in self.rank0["region_list"]:
            found = self.query(f"region={region['name']}#{region['index']}")
            self.assertEqual(len(found), region["activities"])
            self.near(min(e["start_us"] for e in found), region["gpu_start_us"])

    def test_query_splits(self):
        def count(text):
            done = cli.hadal("trace", "query", self.path0, text, "--json", "--limit", 1)
            found = json.loads(done.stdout)["found"]
            self.assertEqual(done.stderr, f"hadal: note: 1 of {found} events are shown; --limit N "
                             "gives more\n")
            return found

        self.assertEqual(count(""), self.of("info")["events"])
        for text in ("dur>100us", "name~gemm", "cat=cpu_op", "class=compute or stream=7"):
            self.assertEqual(count(text) + count(f"not ({text})"), count(""), text)

    def test_query_order_and_events(self):
        longest = self.query("cat=kernel", "--sort", "duration")
        durations = [e["duration_us"] for e in longest]
        self.assertEqual(durations, sorted(durations, reverse=True))
        first = self.json("trace", "query", self.path0, f"id={longest[0]['id'].split(':')[1]}",
                          "--args", "--json")["events"][0]["event"]
        self.assertEqual((first["name"], first["dur"]),
                         (longest[0]["name"], longest[0]["duration_us"]))
        for wrong, at in (("colour=red", "character 1"), ("dur>", "character 5"),
                          ("dur>1 or", "character 9"), ("(dur>1", "character 1: this ( is not closed"),
                          ("stream=x", "character 8"), ("cat=nosuch", "character 5")):
            self.fails(2, at, "trace", "query", self.path0, wrong)
        self.fails(2, "the query is missing", "trace", "query", self.path0)
        self.fails(2, "--sort is 'up'", "trace", "query", self.path0, "cat=kernel", "--sort", "up")


class Faults(TraceTest):
    """What was put into the trace is found in it."""

    def job(self, fault, *options):
        paths, answers = self.generate("--ranks", 1, "--fault", fault, *options)
        return paths[0], answers["faults"][0], answers["ranks"][0]

    def findings(self, path):
        result = self.json("trace", "findings", path, "--json")
        self.near(sum(f["additional_us"] for f in result["findings"]), result["ceiling_us"])
        ceilings = [f["ceiling_us"] for f in result["findings"]]
        self.assertEqual(ceilings, sorted(ceilings, reverse=True))
        self.assertLessEqual(max(ceilings), result["ceiling_us"])
        rows = self.csv("trace", "findings", path)
        self.assertEqual([row["id"] for row in rows], [f["id"] for f in result["findings"]])
        return {f["id"]: f for f in result["findings"]}

    def test_exposed_communication(self):
        paths, answers = self.generate("--schedule", "sequential", "--ranks", 1)
        exposed = [f for i, f in self.findings(paths[0]).items() if i.startswith("exposed:")]
        self.near(sum(f["ceiling_us"] for f in exposed),
                  answers["ranks"][0]["times"]["structural_exposed_us"])

    def test_allocations(self):
        path, fault, _ = self.job("malloc-storm:0:8", "--layers", 2)
        calls = {c["name"]: c for c in self.json("trace", "memory", path, "--json")["allocation_calls"]}
        self.assertEqual(calls["cudaMalloc"]["count"], fault["count"])
        self.near(sum(c["total_us"] for c in calls.values()), fault["extra_us"])
        self.assertEqual(self.findings(path)["host:malloc"]["severity"], "high")

    def test_pageable_copies(self):
        path, fault, rank = self.job("pageable-copy:0:8", "--layers", 2)
        copies = self.json("trace", "memory", path, "--json")["copies"]
        known = {k["name"]: k for k in rank["kernels"] if k["name"].startswith("Mem")}
        self.assertEqual({c["name"]: (c["count"], c["total_us"]) for c in copies},
                         {name: (k["count"], k["total_us"]) for name, k in known.items()})
        for c in copies:
            self.assertEqual(c["pageable"], "Pageable" in c["name"])
            self.assertAlmostEqual(c["gb_s"], c["bytes"] / c["total_us"] / 1000, places=6)
            if c["pageable"]:
                self.assertEqual(c["count"], fault["count"])
                self.near(self.findings(path)["copy:pageable"]["ceiling_us"], c["total_us"])

    def test_growing_barriers(self):
        path, _, _ = self.job("barrier-growth:all:400us", "--layers", 4, "--steps", 1)
        for region in self.json("trace", "comm", path, "--json")["barrier"]["by_region"]:
            self.assertAlmostEqual(region["growth_us_per_index"], 400, delta=20)
        self.assertIn("barrier", " ".join(self.findings(path)))

    def test_stalls_of_the_host(self):
        path, fault, _ = self.job("sync-stall:0:4", "--layers", 2, "--steps", 2)
        launch = self.json("trace", "launch", path, "--json")
        syncs = {c["name"]: c["count"] for c in launch["api"]}["cudaDeviceSynchronize"]
        self.assertEqual(syncs, fault["count"] + 2)  # each step ends with one as well
        finding = self.findings(path)["host:blocks:cudaDeviceSynchronize"]
        held = [c for c in launch["blocking_calls"] if c["name"] == "cudaDeviceSynchronize"]
        self.assertLessEqual(finding["ceiling_us"], sum(c["duration_us"] for c in held))

    def test_few_blocks_and_half_empty_waves(self):
        path, fault, _ = self.job("low-occupancy:all:50%", "--layers", 2)
        few = [k for k in self.json("trace", "occupancy", path, "--json")["kernels"]
               if k["grid"] == [8, 1, 1] and "Gemm" in k["name"]]
        self.assertEqual(sum(k["count"] for k in few), fault["count"])
        self.assertEqual({k["limiter"] for k in few}, {"grid"})
        # 8 blocks of 384 threads on 132 SMs with 2048 threads each.
        for k in few:
            self.assertAlmostEqual(k["percent"], 100 * 8 * 384 / (132 * 2048), places=9)
        path, fault, _ = self.job("wave-quantised:all:50%", "--layers", 2)
        rows = [k for k in self.json("trace", "occupancy", path, "--json")["waves"]["kernels"]
                if k["blocks"] == 133]
        self.assertEqual(sum(k["count"] for k in rows), fault["count"])
        for k in rows:
            self.assertEqual((k["waves"], k["efficiency"]), (2, 133 / (2 * k["capacity"])))

    def test_occupancy_covers_all_kernels(self):
        occupancy = self.json("trace", "occupancy", self.paths[0], "--json")
        known = sum(k["total_us"] for k in self.answers["ranks"][0]["kernels"]
                    if not k["name"].startswith("Mem"))
        self.near(occupancy["kernel_us"], known)
        self.near(sum(k["total_us"] for k in occupancy["kernels"]), known)
        mean = sum(k["percent"] * k["total_us"] for k in occupancy["kernels"]) / known
        self.assertAlmostEqual(occupancy["mean_percent"], mean, places=9)


class Roofline(TraceTest):
    def setUp(self):
        """One product of 4096 x 4096 x 4096 in half a millisecond."""
        super().setUp()
        args = {"device": 0, "stream": 7, "correlation": 1, "grid": [132, 1, 1], "block": [128, 1, 1]}
        self.trace = self.file("mm.json", json.dumps({"deviceProperties": [
            {"id": 0, "name": "NVIDIA H800", "computeMajor": 9, "computeMinor": 0, "numSms": 132}],
            "traceEvents": [
                {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 0, "dur": 9,
                 "args": {"Input Dims": [[4096, 4096], [4096, 4096]],
                          "Input type": ["c10::BFloat16", "c10::BFloat16"]}},
                {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1,
                 "ts": 2, "dur": 4, "args": {"correlation": 1}},
                {"ph": "X", "cat": "kernel", "name": "nvjet_gemm", "pid": 0, "tid": 7, "ts": 20,
                 "dur": 500, "args": args}]}))

    def test_flop_of_a_product(self):
        roofline = self.json("trace", "roofline", self.trace, "--json")
        tflops = 2 * 4096**3 / 500e-6 / 1e12
        [row] = roofline["kernels"]
        self.assertEqual((row["flop"], row["count"]), (2 * 4096**3, 1))
        self.assertAlmostEqual(row["tflops"], tflops)
        self.assertAlmostEqual(row["percent_of_peak"],
                               100 * tflops / roofline["peaks"]["bf16_tflops"])
        self.assertEqual(roofline["gemm_unknown_us"], 0)
        csv_row = self.csv("trace", "roofline", self.trace)[0]
        self.assertAlmostEqual(float(csv_row["tflops"]), tflops)

    def test_a_model_file_gives_other_peaks(self):
        model = self.file("model.toml", "bf16_tflops = 500\n")
        [row] = self.json("trace", "roofline", self.trace, "--model", model, "--json")["kernels"]
        self.assertAlmostEqual(row["percent_of_peak"], 100 * row["tflops"] / 500)
        self.fails(2, "no-such.toml", "trace", "roofline", self.trace, "--model",
                   self.path("no-such.toml"))
        self.fails(2, "wrong.toml", "trace", "roofline", self.trace, "--model",
                   self.file("wrong.toml", "colour = 3\n"))


if __name__ == "__main__":
    cli.main()
