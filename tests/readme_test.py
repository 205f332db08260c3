"""Runs the README's examples as they are written (the Python one: python/hadal_test.py).

usage: readme_test.py path/to/hadal
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

TREE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
BUILD = ""  # the directory of the program, set below


def read(path):
    with open(os.path.join(TREE, path), encoding="utf-8") as f:
        return f.read()


def example(language):
    return re.search(rf"^```{language}\n(.*?)^```", read("README.md"), re.M | re.S)[1]


class Readme(unittest.TestCase):
    def test_the_program(self):
        environment = {**os.environ, "PATH": BUILD + os.pathsep + os.environ["PATH"]}
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", example("sh")], cwd=folder,
                                  env=environment, capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            with open(os.path.join(folder, "plan.json"), encoding="utf-8") as f:
                plan = json.load(f)
        self.assertEqual([len(layer) for layer in plan["phy2log"]], [16, 16])

    def test_cpp(self):
        self.assertEqual(example("cpp"), read("tests/eplb_example.cpp"),
                         "the README's C++ example differs from tests/eplb_example.cpp")
        done = subprocess.run([os.path.join(BUILD, "eplb_example")], capture_output=True, text=True,
                              check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"\Alayer 0: busiest GPU / mean = 1\.\d+, .*\nlayer 1: .*\n\Z")


if __name__ == "__main__":
    BUILD = os.path.dirname(os.path.abspath(sys.argv.pop()))
    unittest.main()
