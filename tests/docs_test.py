"""Runs the examples of README.md and docs/ as they are written, and compares what they print.

    ```sh       is run by bash in a folder that is empty at first, with hadal in PATH; the blocks of
                a page in order, in the same folder
    ```text     directly behind a ```sh block is what that block prints; a line "..." there stands for
                any number of lines
    ```python   is run in the same folder, where the Python module is built
    ```console  is shown only: it needs what not every machine has
    ```cpp      must be tests/eplb_example.cpp, which is built, or stand in a test

usage: docs_test.py path/to/hadal
"""

import os
import re
import subprocess
import sys
import tempfile
import unittest
from typing import NamedTuple

TREE = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
BUILD = ""  # the directory of the program, set below
# Pages whose commands are not run, and why.
NOT_RUN = {
    "docs/development.md": "its commands build and test the tree that this test belongs to",
}


def read(path):
    with open(os.path.join(TREE, path), encoding="utf-8") as f:
        return f.read()


def pages():
    found = ["README.md"]
    for folder, _, names in os.walk(os.path.join(TREE, "docs")):
        found += [os.path.relpath(os.path.join(folder, name), TREE) for name in names
                  if name.endswith(".md")]
    return sorted(found)


class Block(NamedTuple):
    line: int  # of its first line, from 1
    language: str
    text: str
    output: str | None  # of the ```text behind a ```sh


def blocks(page_text):
    fence = re.compile(r"^```(\w*)\n(.*?)^```\n(?:\n*```text\n(.*?)^```\n)?", re.M | re.S)
    at = 0
    while found := fence.search(page_text, at):
        language, text, output = found.groups()
        at = found.end()
        if language != "sh" and output is not None:  # that block stands for itself
            at, output = found.end(2) + len("```\n"), None
        yield Block(page_text.count("\n", 0, found.start(2)) + 1, language, text, output)


def matches(expected, seen):
    """Line by line, "..." for any lines."""
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(line) + r"\n"
                      for line in expected.splitlines())
    return re.fullmatch(pattern, seen) is not None


def first_difference(expected, seen):
    """The first line that is not printed where it is expected."""
    lines = expected.splitlines()
    for n in range(1, len(lines) + 1):
        if not matches("\n".join([*lines[:n], "..."]), seen):
            return f'"{lines[n - 1]}"'
    return "the end of the output"


class Folder:
    """Where the blocks of a page run."""

    def __init__(self, test):
        self.test = test
        holder = tempfile.TemporaryDirectory()
        test.addCleanup(holder.cleanup)
        self.path = holder.name
        self.environment = {**os.environ, "PATH": BUILD + os.pathsep + os.environ["PATH"],
                            "PYTHONPATH": os.path.join(BUILD, "python"), "NO_COLOR": "1",
                            "HADAL_GPU_CACHE": os.path.join(self.path, "gpu-cache")}

    def run(self, *command):
        return subprocess.run(command, cwd=self.path, env=self.environment, capture_output=True,
                              text=True, timeout=500, check=False)

    def sh(self, page, block):
        done = self.run("bash", "-euo", "pipefail", "-c", block.text)
        where = f"{page}:{block.line}"
        self.test.assertEqual(done.returncode, 0, f"{where}: {done.stderr}")
        if block.output is not None and not matches(block.output, done.stdout):
            self.test.fail(f"{where}: {first_difference(block.output, done.stdout)} is not what it "
                           f"prints, which is\n{done.stdout}")

    def has_python(self):
        return self.run(sys.executable, "-c", "import hadal.trace").returncode == 0

    def python(self, page, block):
        done = self.run(sys.executable, "-c", block.text)
        self.test.assertEqual(done.returncode, 0, f"{page}:{block.line}: {done.stderr}")


class Docs(unittest.TestCase):
    def test_examples_run_and_print_what_the_page_says(self):
        ran = set()
        for page in pages():
            runnable = [b for b in blocks(read(page)) if b.language in ("sh", "python")]
            if page in NOT_RUN or not runnable:
                continue
            with self.subTest(page):
                folder = Folder(self)
                has_python = folder.has_python()
                for block in runnable:
                    if block.language == "sh":
                        folder.sh(page, block)
                    elif has_python:
                        folder.python(page, block)
            ran.add(page)
        self.assertLessEqual({"README.md", "docs/eplb.md", "docs/trace.md"}, ran)

    def test_no_command_hides_in_another_block(self):
        for page in set(pages()) - set(NOT_RUN):
            for block in blocks(read(page)):
                if block.language not in ("sh", "text", "console"):
                    self.assertNotRegex(block.text, r"(?m)^(\$ |build/\S+/)?hadal ",
                                        f"{page}:{block.line}: commands belong into ```sh")

    def test_pages_that_are_not_run_exist(self):
        self.assertLessEqual(set(NOT_RUN), set(pages()))

    def test_cpp(self):
        shown = [b.text for b in blocks(read("README.md")) if b.language == "cpp"]
        self.assertEqual(shown, [read("tests/eplb_example.cpp")],
                         "the README's C++ example differs from tests/eplb_example.cpp")
        done = subprocess.run([os.path.join(BUILD, "eplb_example")], capture_output=True, text=True,
                              check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"\Alayer 0: busiest GPU / mean = 1\.\d+, .*\nlayer 1: .*\n\Z")

    def test_examples_that_are_tests(self):
        for page, test in (("docs/gpu-emulator.md", "src/gpu/emulator/example_test.cpp"),
                           ("docs/simulation.md", "src/io/sim_example_test.cpp")):
            source = read(test)
            for block in blocks(read(page)):
                if block.language == "cpp":
                    self.assertIn(block.text, source, f"{page}:{block.line}")


class Rules(unittest.TestCase):
    """The test of this test: what counts as a block, and as the same output."""

    PAGE = "a\n\n```sh\nx\n```\n\n```text\ny\n```\n\n```\nz\n```\n\n```text\nw\n```\n"

    def test_blocks(self):
        self.assertEqual(list(blocks(self.PAGE)),
                         [(4, "sh", "x\n", "y\n"), (12, "", "z\n", None), (16, "text", "w\n", None)])

    def test_matches(self):
        for expected, seen, same in (("a\n", "a\n", True), ("a\n", "b\n", False),
                                     ("a\n...\nc\n", "a\nb\nb\nc\n", True),
                                     ("a\n...\n", "a\n", True), ("a\n...\nc\n", "a\nb\n", False),
                                     ("a.c\n", "abc\n", False), ("a\n", "a\nb\n", False)):
            self.assertEqual(matches(expected, seen), same, (expected, seen))
        self.assertEqual(first_difference("a\n...\nx\n", "a\nb\nc\n"), '"x"')
        self.assertEqual(first_difference("a\n", "a\nb\n"), "the end of the output")


if __name__ == "__main__":
    BUILD = os.path.dirname(os.path.abspath(sys.argv.pop()))
    unittest.main()
