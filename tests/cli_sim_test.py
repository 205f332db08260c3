"""`hadal sim`: targets, seeds, planted mistakes, replays."""

import os
import shutil
import subprocess
import unittest

import cli
from cli import CliTest, hadal


class List(CliTest):
    def test_every_target_says_what_it_knows(self):
        targets = self.json("sim", "list", "--json")["targets"]
        self.assertIn("group-commit", [target["name"] for target in targets])
        text = self.ok("sim", "list")
        for target in targets:
            self.assertEqual(list(target), ["name", "what", "steps", "faults", "broken"])
            for word in [target["name"], target["what"], *target["faults"], *target["broken"]]:
                self.assertIn(word, text)


class Run(CliTest):
    def test_every_target_passes(self):
        text = self.ok("sim", "run", "all", "--seeds", "0..9")
        out = self.json("sim", "run", "all", "--seeds", "0..9", "--json")
        self.assertTrue(out["passed"])
        for target in out["targets"]:
            self.assertEqual(list(target), ["target", "runs", "events", "passed", "failure"])
            self.assertEqual((target["runs"], target["passed"], target["failure"]),
                             (10, True, None))
            self.assertIn(f"{target['target']}: 10 runs passed, {target['events']} events\n", text)

    def test_every_planted_mistake_is_found_and_replayed(self):
        for target in self.json("sim", "list", "--json")["targets"]:
            for broken in target["broken"]:
                with self.subTest(target=target["name"], broken=broken):
                    self.replays(target["name"], broken)

    def replays(self, target, broken):
        out = self.json("sim", "run", target, "--seeds", "0..999", "--broken", broken, "--json",
                        code=1)
        failure = out["targets"][0]["failure"]
        self.assertEqual(list(failure),
                         ["seed", "steps", "faults", "broken", "what", "log", "replay"])
        program, *words = failure["replay"].split()
        self.assertEqual(program, "hadal")
        again = self.json(*words, "--json", code=1)["targets"][0]["failure"]
        self.assertEqual(again, failure)
        text = self.ok(*words, code=1)
        self.assertTrue(text.startswith(failure["log"]))
        self.assertIn(f"{target}: seed {failure['seed']} fails: {failure['what']}\n", text)
        self.assertIn(f"\n  again: {failure['replay']}\n", text)

    def test_a_minimized_failure_is_no_longer_than_the_first(self):
        run = ["sim", "run", "group-commit", "--seeds", "0..999", "--broken", "skipped-flush",
               "--json"]
        short = self.json(*run, code=1)["targets"][0]["failure"]
        first = self.json(*run, "--no-minimize", code=1)["targets"][0]["failure"]
        self.assertEqual(first["seed"], short["seed"])
        self.assertLess(short["steps"], first["steps"])
        self.assertLessEqual(set(short["faults"]), set(first["faults"]))

    def test_one_seed_shows_its_log(self):
        text = self.ok("sim", "run", "group-commit", "--seeds", "7")
        self.assertIn("the power goes", text)
        self.assertRegex(text, r"group-commit: 1 run passed, \d+ events\n\Z")
        self.assertEqual(text, self.ok("sim", "run", "group-commit", "--seeds", "7", "-j", "1"))

    def test_faults_and_steps_are_those_given(self):
        text = self.ok("sim", "run", "group-commit", "--seeds", "7", "--faults", "none",
                       "--steps", "20")
        self.assertNotIn("the server is killed", text)
        # The power goes once, at the end of every run.
        self.assertEqual(text.count("the power goes"), 1)
        self.assertIn("the server is killed", self.ok("sim", "run", "group-commit", "--seeds", "7",
                                           "--faults", "crash,disk-error"))

    def test_usage_errors_are_two(self):
        run = ["sim", "run", "group-commit"]
        self.fails(2, "it must be one of chunks, group-commit, kv, rpc, all", "sim", "run", "nothing")
        self.fails(2, "required", "sim", "run")
        for seeds in ("x", "5..2", "-1", "1..", "..2", "1...3", "1e3", str(2**64 - 1)):
            self.fails(2, f"--seeds is '{seeds}'; it must be a number, or FIRST..LAST", *run,
                       f"--seeds={seeds}")
        self.fails(2, "--faults has 'fire'; group-commit knows crash, disk-error, power", *run,
                   "--faults", "crash,fire")
        self.fails(2, "--broken has 'all'; group-commit knows skipped-flush, early-reply", *run,
                   "--broken", "all")
        self.fails(2, "--steps is '0'", *run, "--steps", "0")
        self.fails(2, "--jobs is '0'", *run, "--jobs", "0")

    @unittest.skipUnless(shutil.which("script"), "script(1) is not installed")
    def test_progress_on_a_terminal(self):
        done = subprocess.run(
            ["script", "-qc", f"{cli.HADAL} sim run group-commit --seeds 0..99", "/dev/null"],
            env={**os.environ, "TERM": "xterm"}, stdin=subprocess.DEVNULL, capture_output=True)
        self.assertRegex(done.stdout.decode(), r"group-commit: \d+ of 100 runs, [\d.]+ M events, ")
        self.assertEqual(hadal("sim", "run", "group-commit").stderr, "")


if __name__ == "__main__":
    cli.main()
