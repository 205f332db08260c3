"""scripts/gpu-check: its report, and kernels that fault, hang or are wrong. Takes the program of the
bundle, which also must share nothing but glibc."""

import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import unittest

PROGRAM = os.path.abspath(sys.argv.pop(1))
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "scripts", "gpu-check")

# Passes everything on, but for cases whose name has BAD in it: what MODE says.
BROKEN = """#!/bin/sh
case "$*" in
  *"--filter BAD"*) MODE ;;
esac
exec PROGRAM "$@"
"""


class GpuCheck(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def run_script(self, *args, program=PROGRAM):
        return subprocess.run(
            [sys.executable, SCRIPT, "--program", program, "--device", "emulator",
             "--out", self.folder.name, "--product", "16", "128", "256", "--repeats", "2", *args],
            capture_output=True, text=True, timeout=280, check=False)

    def report(self):
        path = os.path.join(self.folder.name, "emulated-sm-90a")
        with open(path + ".json", encoding="utf-8") as f:
            data = json.load(f)
        with open(path + ".md", encoding="utf-8") as f:
            return data, f.read()

    def broken(self, bad, mode):
        path = os.path.join(self.folder.name, "broken")
        with open(path, "w", encoding="utf-8") as f:
            f.write(BROKEN.replace("BAD", bad).replace("MODE", mode).replace("PROGRAM", PROGRAM))
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        return path

    def test_report_of_kernels_that_are_right(self):
        done = self.run_script("--filter", "groups along k")
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        data, text = self.report()
        self.assertEqual(data["check"]["groups along k"]["failed"], 0)
        self.assertEqual(len(data["bench"]["product"]["products"]), 1)
        self.assertIn("Everything is right.", text)
        self.assertRegex(text, r"\| groups along k \| 2 \| 0 \| 0 \|")
        self.assertIn("| 16 x 128 x 256 |", text)

    def test_a_process_that_dies_is_looked_into_case_by_case(self):
        program = self.broken("groups along k/", "kill -SEGV $$")
        done = self.run_script("--filter", "groups along k", program=program)
        self.assertEqual(done.returncode, 1, done.stdout)
        data, text = self.report()
        family = data["check"]["groups along k"]
        # Every case has that text in its name, so every one dies by itself, too.
        self.assertEqual((family["cases"], family["failed"]), (2, 2))
        self.assertIn("**Something is wrong**", text)
        # The family after it was tried all the same.
        self.assertEqual(data["check"]["groups along k, odd number of tiles"]["failed"], 0)

    def test_time_that_is_up_is_said(self):
        program = self.broken("groups along k/", "exec sleep 100")
        done = self.run_script("--filter", "groups along k", "--minutes", "0.05", program=program)
        self.assertEqual(done.returncode, 1, done.stdout)
        _, text = self.report()
        self.assertIn("killed after", text)
        self.assertIn("no time was left", text)

    def test_without_a_gpu_it_says_so(self):
        done = subprocess.run([sys.executable, SCRIPT, "--program", PROGRAM], capture_output=True,
                              text=True, timeout=60, check=False)
        if done.returncode == 0:
            self.skipTest("there is a GPU")
        self.assertIn("no Hopper GPU here", done.stderr)

    def test_the_program_shares_nothing_but_glibc(self):
        out = subprocess.run(["readelf", "-dW", PROGRAM], capture_output=True, text=True,
                             check=True).stdout
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", out)
        self.assertTrue(needed)
        for name in needed:
            self.assertRegex(name, r"^(libc\.so\.6|libm\.so\.6|ld-linux-x86-64\.so\.2)$")
        out = subprocess.run(["readelf", "-VW", PROGRAM], capture_output=True, text=True,
                             check=True).stdout
        versions = {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([0-9.]+)", out)}
        self.assertLessEqual(max(versions), (2, 36))


if __name__ == "__main__":
    unittest.main()
