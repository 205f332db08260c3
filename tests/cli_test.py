"""The command line as such: help, version, doctor, completion, exit codes, broken outputs, and the
input files that `hadal eplb evaluate` reads."""

import json
import os
import shutil
import struct
import subprocess
import unittest

import cli
from cli import CliTest, hadal

PLAN = {"num_gpus": 2, "num_nodes": 1, "num_experts": 3, "phy2log": [[0, 1, 2, 0], [2, 1, 0, 2]]}
LOADS = [[4, 3, 2], [1, 2, 6]]


class Program(CliTest):
    def test_help_lists_the_commands(self):
        text = self.ok("--help")
        for word in ("eplb", "doctor", "completion", "version"):
            self.assertIn(word, text)
        self.assertEqual(text, self.ok("-h"))
        self.assertIn("Usage: hadal eplb plan", self.ok("eplb", "plan", "--help"))
        self.assertIn("auto|reference|optimal|incremental", self.ok("eplb", "plan", "--help"))

    def test_version(self):
        self.assertRegex(self.ok("version"), r"\Ahadal \d+\.\d+\.\d+ \(.*\)\n\Z")
        self.assertEqual(list(self.json("version", "--json")), ["name", "version", "compiler"])

    def test_doctor(self):
        out = self.json("doctor", "--json")
        self.assertEqual(list(out), ["hadal", "probes"])
        names = ["isa", "cpu", "memory", "compiler", "gpu", "nvrtc", "io_uring", "fuse",
                 "duckdb", "slurm", "rdma", "ucx", "python"]
        self.assertEqual(list(out["probes"]), names)
        text = self.ok("doctor")
        for name, probe in out["probes"].items():
            self.assertEqual(list(probe), ["ok", "found", "costs"])
            self.assertEqual(probe["ok"], probe["costs"] == "", name)
            self.assertTrue(probe["found"], name)
            self.assertRegex(text, f"(?m)^{'ok' if probe['ok'] else 'missing'} +{name} ")

    def test_doctor_without_path(self):
        out = json.loads(self.ok("doctor", "--json", env={}))
        self.assertEqual(out["probes"]["slurm"]["found"], "no sbatch in PATH")

    def test_usage_errors_are_two(self):
        self.fails(2, "a command is missing, one of demo, ", )
        self.fails(2, "unknown command 'eplv', did you mean eplb?; see `hadal --help`", "eplv")
        self.fails(2, "unknown option '--jsn', did you mean --json?", "doctor", "--jsn")
        self.fails(2, "--input is required; see `hadal eplb plan --help`", "eplb", "plan")
        self.fails(2, "--policy is 'best'; it must be one of auto, reference, optimal, incremental",
                   "eplb", "plan", "-i", "x", "--policy", "best")
        self.fails(2, "--num-gpus is '0'; it must be a whole number of at least 1", "eplb", "plan",
                   "-i", "x", "--num-gpus", "0")
        self.fails(2, "unexpected argument", "version", "extra")
        self.fails(2, "it must be one of bash, zsh", "completion", "fish")

    def test_environment_errors_are_three(self):
        plan = self.file("plan.json", json.dumps(PLAN))
        loads = self.file("loads.json", json.dumps(LOADS))
        with open("/dev/full", "wb") as full:
            for arguments in (["version"], ["--help"], ["doctor", "--json"],
                              ["eplb", "evaluate", "-p", plan, "-l", loads]):
                done = hadal(*arguments, stdout=full)
                self.assertEqual(done.returncode, 3, arguments)
                self.assertEqual(done.stderr, "hadal: write standard output: No space left on device\n")

    def test_closed_output(self):
        done = subprocess.run(["sh", "-c", '"$0" version >&-', cli.HADAL], capture_output=True)
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"write standard output: Bad file descriptor", done.stderr)

    def test_a_reader_that_goes_away_is_no_error(self):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            done = hadal("doctor", stdout=pipe)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_no_colour_in_a_pipe(self):
        self.assertNotIn("\x1b", self.ok("doctor"))

    @unittest.skipUnless(shutil.which("script"), "script(1) is not installed")
    def test_colour_on_a_terminal_unless_no_color(self):
        def on_terminal(**extra):
            env = {**os.environ, "TERM": "xterm-256color", **extra}
            env = {key: value for key, value in env.items() if value is not None}
            return subprocess.run(["script", "-qc", f"{cli.HADAL} doctor", "/dev/null"], env=env,
                                  stdin=subprocess.DEVNULL, capture_output=True).stdout
        if b"missing" not in on_terminal():
            self.skipTest("nothing is missing on this machine")
        self.assertIn(b"\x1b[", on_terminal(NO_COLOR=None))
        self.assertNotIn(b"\x1b[", on_terminal(NO_COLOR="1"))
        self.assertNotIn(b"\x1b[", on_terminal(NO_COLOR=None, TERM="dumb"))


class Completion(CliTest):
    def complete(self, *words):
        script = self.file("c.bash", self.ok("completion", "bash"))
        subprocess.run(["bash", "-n", script], check=True)
        run = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); ' \
              '_hadal_completion; printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "--norc", "-c", run, "x", script, "hadal", *words],
                              capture_output=True, text=True, cwd=self.directory, check=True)
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_bash(self):
        self.assertLess({"demo", "trace", "eplb", "doctor", "completion"}, set(self.complete("")))
        self.assertEqual(self.complete("do"), ["doctor"])
        self.assertIn("plan", self.complete("eplb", ""))
        self.assertEqual(self.complete("eplb", "plan", "--num-g"), ["--num-gpus", "--num-groups"])
        self.assertEqual(self.complete("eplb", "plan", "--policy", ""),
                         ["auto", "reference", "optimal", "incremental"])
        self.assertEqual(self.complete("completion", ""), ["bash", "zsh"])
        self.file("loads.json", "")
        self.assertEqual(self.complete("eplb", "show", "--input", "lo"), ["loads.json"])
        self.assertEqual(self.complete("eplb", "plan", "--num-gpus", ""), [])

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_zsh(self):
        script = self.file("_hadal", self.ok("completion", "zsh"))
        subprocess.run(["zsh", "-n", script], check=True)

    def test_zsh_text(self):
        self.assertTrue(self.ok("completion", "zsh").startswith("#compdef hadal\n"))


class Evaluate(CliTest):
    def setUp(self):
        super().setUp()
        self.plan = self.file("plan.json", json.dumps(PLAN))

    def evaluate(self, loads, *more, **options):
        return self.json("eplb", "evaluate", "--plan", self.plan, "--load", loads, "--json", *more,
                         **options)

    def test_numbers_and_keys(self):
        out = self.evaluate(self.file("loads.json", json.dumps(LOADS)))
        self.assertEqual(list(out), ["num_layers", "num_experts", "num_replicas", "num_nodes",
                                     "num_gpus", "windows", "gpu", "node", "slot", "duplicates",
                                     "layer_imbalance", "gpu_load"])
        self.assertEqual(list(out["gpu"]), ["max", "mean", "imbalance", "worst_imbalance",
                                            "balancedness"])
        # Layer 0: GPU 0 has 4/2 + 3, GPU 1 has 2 + 4/2; layer 1: 6/2 + 2 and 1 + 6/2.
        self.assertEqual(out["gpu_load"], [[5, 4], [5, 4]])
        self.assertEqual(out["layer_imbalance"], [5 / 4.5, 5 / 4.5])
        self.assertEqual(out["gpu"]["balancedness"], 0.9)
        self.assertEqual(out["duplicates"], 0)

    def test_human_output(self):
        text = self.ok("eplb", "evaluate", "-p", self.plan, "-l",
                       self.file("loads.json", json.dumps(LOADS)))
        self.assertIn("plan.json, 4 slots on 2 GPUs in 1 node", text)
        self.assertRegex(text, r"(?m)^GPU +5 +4.5 +1.1111 +1.1111 +0.9000$")

    def test_every_format_gives_the_same(self):
        header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }"
        numbers = struct.pack("<6d", *(x for row in LOADS for x in row))
        files = {
            "vector.json": json.dumps({"weight": LOADS, "num_gpus": 2}),
            "history.json": json.dumps({"load_history": [{"logical_expert_load": LOADS}]}),
            "sglang.json": json.dumps({"rank": 0, "logical_count": [LOADS]}),
            "array.json": json.dumps(LOADS),
            "loads.csv": "e0,e1,e2\n4, 3,2\n1,2,6\n",
            "loads.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + numbers,
        }
        expected = self.evaluate(self.file("loads.json", json.dumps(LOADS)))
        for name, content in files.items():
            self.assertEqual(self.evaluate(self.file(name, content)), expected, name)

    def test_standard_input(self):
        out = self.evaluate("-", stdin=json.dumps(LOADS).encode())
        self.assertEqual(out["gpu_load"], [[5, 4], [5, 4]])
        loads = self.file("loads.json", json.dumps(LOADS))
        out = self.json("eplb", "evaluate", "-p", "-", "-l", loads, "--json",
                        stdin=json.dumps(PLAN).encode())
        self.assertEqual(out["gpu_load"], [[5, 4], [5, 4]])
        self.fails(2, "are both standard input", "eplb", "evaluate", "-p", "-", "-l", "-")
        self.fails(2, "hadal: standard input: the input is empty", "eplb", "evaluate", "-p",
                   self.plan, "-l", "-", stdin=b"")

    def test_windows(self):
        loads = self.file("loads.json", json.dumps([LOADS, [[0, 0, 2], [0, 0, 2]]]))
        self.assertEqual(self.evaluate(loads, "--window", "1:2")["gpu_load"], [[0, 2], [1, 1]])
        self.assertEqual(self.evaluate(loads, "--window=-1:")["windows"], [1, 2])
        self.assertEqual(self.evaluate(loads)["gpu_load"], [[5, 6], [6, 5]])
        self.fails(2, "window range '1:3' does not lie within the 2 windows", "eplb", "evaluate",
                   "-p", self.plan, "-l", loads, "--window", "1:3")

    def test_speeds(self):
        loads = self.file("loads.json", json.dumps(LOADS))
        self.assertEqual(self.evaluate(loads, "--speed", "1,2")["gpu_load"], [[5, 2], [5, 2]])
        self.fails(2, "gpu_speed has 1 values; it must have num_gpus 2", "eplb", "evaluate", "-p",
                   self.plan, "-l", loads, "--speed", "1")

    def test_bad_loads(self):
        cases = {
            '{"weight": [[1,2,3],[1,2]]}':
                "weight[1] has 2 values; it must have 3 like weight[0]",
            '{"weight": [[1,2,NaN],[1,2,3]]}':
                "weight[0][2] is NaN; loads must be finite numbers >= 0",
            '{"weight": [[1,2,-3],[1,2,3]]}':
                "weight[0][2] is -3; loads must be finite numbers >= 0",
            '{"weight": [[1,2,null],[1,2,3]]}': "weight[0][2] is null",
            '{"weight": [[1,2,"3"],[1,2,3]]}': "weight[0][2] is the string",
            '{"weight": []}': "weight is empty",
            '{"weight": [[1,2,3],[1,': "truncated?",
            '{"weight": [[1]], "weight": [[1]]}': "weight occurs twice",
            '{"x": 1}': "the input has no loads",
            "": "the input is empty",
            "not,numbers\nat,all\n": "line 2, column 1 is 'at'; it must be a number",
            "1,2,3\n1,2\n": "line 2 has 2 values; every row must have 3 like the first",
            "[" * 50_000: "",
            b"\x93NUMPY\x01\x00\x10\x00{": "the npy header is truncated",
            b"\x00\x01\x02": "the input has no rows of numbers",
        }
        for content, sentence in cases.items():
            path = self.file("bad", content)
            self.fails(2, sentence, "eplb", "evaluate", "-p", self.plan, "-l", path)
            if sentence:
                self.fails(2, f"hadal: {path}: ", "eplb", "evaluate", "-p", self.plan, "-l", path)

    def test_bad_paths(self):
        self.fails(2, "/nonexistent: No such file or directory", "eplb", "evaluate", "-p",
                   self.plan, "-l", "/nonexistent")
        self.fails(2, f"cannot read {self.directory}: it is a directory", "eplb", "evaluate", "-p", self.plan,
                   "-l", self.directory)

    def test_bad_plans(self):
        loads = self.file("loads.json", json.dumps(LOADS))
        cases = {
            "the plan has no num_gpus": {**PLAN, "num_gpus": None},
            "phy2log[1] has no slot with expert 1": {**PLAN, "phy2log": [[0, 1, 2, 0], [2, 0, 0, 2]]},
            "it must be an expert below 3": {**PLAN, "phy2log": [[0, 1, 2, 3], [2, 1, 0, 2]]},
            "hadal_plan is 9; this program reads version 1": {**PLAN, "hadal_plan": 9},
        }
        for sentence, plan in cases.items():
            plan = {key: value for key, value in plan.items() if value is not None}
            self.fails(2, sentence, "eplb", "evaluate", "-p", self.file("bad.json", json.dumps(plan)),
                       "-l", loads)
        one = self.file("one.csv", "1,2,3\n")
        self.fails(2, f"{self.plan} is for 2 layers x 3 experts, but {one} has 1 x 3", "eplb",
                   "evaluate", "-p", self.plan, "-l", one)


if __name__ == "__main__":
    cli.main()
