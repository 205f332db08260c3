"""Tests scripts/check: it passes a clean tree and finds each planted violation.

Every case writes the clean tree below, changes one file, and names the line that must be reported.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

CHECK = os.path.join(os.path.dirname(__file__), "..", "scripts", "check")
TEXT_RULES = ["arrows", "dead", "links", "words", "sizes", "shell"]

CLEAN = {
    "README.md": "# Tree\n\nSee [the page](docs/page.md#a-heading).\n",
    "Makefile": "check:\n\tscripts/tool\n",
    "docs/page.md": "# Page\n\n## A heading\n\n```\n[not a link](nowhere.md)\n```\n",
    "scripts/tool": "#!/usr/bin/env bash\necho yes\n",
    "src/deps.txt": "# arrows\nbase:\nnet: base\neplb: base\ncli: base net eplb\n",
    "src/base/CMakeLists.txt": "hadal_folder(SOURCES base.cpp)\n",
    "src/base/base.h": "#pragma once\n\nnamespace hadal {\nint twice(int x);\n}\n",
    "src/base/base.cpp": '#include "base/base.h"\n\nnamespace hadal {\n\n'
                         "int twice(int x) { return 2 * x; }\n\n}  // namespace hadal\n",
    "src/net/CMakeLists.txt": "hadal_folder(SOURCES net.cpp)\n",
    "src/net/frame.h": "#pragma once\n\nconstexpr int kFrame = 20'000;\n",
    "src/net/net.cpp": '#include "base/base.h"\n#include "net/frame.h"\n\n'
                       'const char* words = "printf( // std::rand in a string";\n',
    "src/eplb/CMakeLists.txt": "hadal_folder(SOURCES eplb.cpp)\n",
    "src/eplb/eplb.h": "#pragma once\n",
    "src/eplb/private.h": "#pragma once\n",
    "src/eplb/eplb.cpp": '#include "eplb/eplb.h"\n\n#include "base/base.h"\n'
                         '#include "eplb/private.h"\n',
    "src/cli/CMakeLists.txt": "hadal_folder(SOURCES main.cpp)\n",
    "src/cli/main.cpp": '#include "base/base.h"\n#include "eplb/eplb.h"\n#include "net/frame.h"\n\n'
                        "int main() { return 0; }\n",
    "python/CMakeLists.txt": "add_library(module.cpp)\n",
    "python/module.cpp": '#include "base/base.h"\n#include "eplb/eplb.h"\n',
}


def lines_of_code(count):
    return "".join(f"  x += {i};\n" for i in range(count))


def function(lines):
    return f"int f(int x) {{\n{lines_of_code(lines - 3)}  return x;\n}}\n"


# (checks, file, new text or None to delete, "file:line: rule: part of the message")
APPEND = "append:"
PLANTED = [
    # Arrows.
    ("arrows", "src/base/base.cpp", APPEND + '#include "net/frame.h"\n',
     "src/base/base.cpp:8: arrows: src/base may not include \"net/frame.h\""),
    ("arrows", "src/cli/main.cpp", APPEND + '#include "eplb/gone.h"\n',
     "src/cli/main.cpp:6: arrows: \"eplb/gone.h\" is not a file"),
    ("arrows", "src/deps.txt", "base:\nnet: base eplb\neplb: base\ncli: base net eplb\n",
     "src/deps.txt:2: arrows: net lists eplb"),
    ("arrows", "src/deps.txt", "base:\nnet: base\neplb: base net\ncli: base net eplb\n",
     "src/deps.txt:3: arrows: src/eplb includes nothing of net"),
    ("arrows", "src/new/new.cpp", '#include "base/base.h"\n',
     "src/new/new.cpp:1: arrows: src/new has no line in src/deps.txt"),
    ("arrows", "src/deps.txt", APPEND + "gone: base\n", "src/deps.txt:6: arrows: src/gone has no"),
    ("arrows", "src/deps.txt", APPEND + "Net = base\n", "src/deps.txt:6: arrows: 'Net = base' is"),
    ("arrows", "src/net/frame.h", "#pragma once\n#include <fmt/core.h>\n",
     "src/net/frame.h:2: arrows: <fmt/core.h> in a header"),
    ("arrows", "python/module.cpp", APPEND + '#include "eplb/private.h"\n',
     "python/module.cpp:3: arrows: python/ may not include"),
    # Dead files.
    ("dead", "src/net/CMakeLists.txt", "hadal_folder()\n", "src/net/net.cpp:1: dead: no CMake"),
    ("dead", "src/net/orphan.h", "#pragma once\n", "src/net/orphan.h:1: dead: nothing includes"),
    ("dead", "Makefile", "check:\n", "scripts/tool:1: dead:"),
    ("dead", "tests/orphan.py", "x = 1\n", "tests/orphan.py:1: dead:"),
    ("dead", "docs/orphan.md", "# Orphan\n", "docs/orphan.md:1: dead: no link leads here"),
    # Links.
    ("links", "README.md", "# Tree\n\n[a](docs/page.md) [b](docs/gone.md)\n",
     "README.md:3: links: docs/gone.md does not exist"),
    ("links", "README.md", "[a](docs/page.md#no-heading)\n", "docs/page.md has no heading #no-hea"),
    # Words.
    ("words", "README.md", APPEND + "word " * 26 + "w\n", "README.md:4: columns: 131 columns"),
    ("words", "README.md", APPEND + "word \n", "README.md:4: space: space at the end"),
    ("words", "src/net/frame.h", "#pragma once\n\tint x;\n", "src/net/frame.h:2: space: tab"),
    ("words", "README.md", APPEND + "word", "README.md:4: space: no newline at the end"),
    ("words", "README.md", APPEND + "TO" "DO: more\n", "README.md:4: leftover:"),
    ("words", "scripts/tool", APPEND + "ls /ho" "me/me\n", "scripts/tool:3: machine: '/ho"),
    ("words", "README.md", APPEND + "py" "pi.org\n", "README.md:4: machine:"),
    ("words", "src/net/frame.h", "int x;\n", "src/net/frame.h:1: pragma: no #pragma once"),
] + [
    ("words", "src/net/net.cpp", APPEND + code + "\n", f"src/net/net.cpp:5: banned: {found}")
    for code, found in [
        ("int a = std::rand();", "std::rand: use hadal::Rng"),
        ("void f() { srand(1); }", "srand: use"),
        ("std::random_device device;", "std::random_device: use a seed"),
        ("void f() { std::shuffle(a, b, c); }", "std::shuffle: use hadal::shuffle"),
        ("std::uniform_int_distribution<int> d;", "std::uniform_int_distribution: use"),
        ("std::default_random_engine e;", "std::default_random_engine: use"),
        ("#include <iostream>", "#include <iostream>: use fmt"),
        ("auto s = std::format(x);", "std::format: use fmt"),
        ("using namespace std;", "using namespace std: use"),
        ("void f() { std::snprintf(a, b, c); }", "snprintf: use fmt"),
        ("#include <cassert>", "#include <cassert>: use CHECK"),
        ("Task f() { co_return 1; }", "co_return: use a thread"),
        ("int a = atoi(text);", "atoi: use std::from_chars"),
    ]
] + [
    ("words", "src/eplb/eplb.cpp", APPEND + "void f() { std::this_thread::sleep_for(x); }\n",
     "src/eplb/eplb.cpp:5: banned: this_thread::sleep_for: use"),
    ("words", "src/eplb/eplb.cpp", APPEND + "void f() { ::usleep(1); }\n",
     "src/eplb/eplb.cpp:5: banned: ::usleep: use"),
    # Sizes and syntax.
    ("sizes", "src/net/net.cpp", APPEND + function(71),
     "src/net/net.cpp:5: sizes: a function of 71 lines"),
    ("sizes", "src/net/net.cpp", APPEND + "struct A {\n  A() : a_{1}, b_{2} {\n"
     + lines_of_code(70) + "  }\n  int a_, b_;\n};\n", "net.cpp:6: sizes: a function of 72 lines"),
    ("sizes", "src/net/net.cpp", APPEND + "// line\n" * 800, "src/net/net.cpp:1: sizes: 804 lines"),
    ("sizes", "python/long.py", "def f(x):\n" + "    x += 1\n" * 70,
     "python/long.py:1: sizes: a function of 71 lines"),
    ("sizes", "python/wrong.py", "x = 1\ndef f(:\n", "python/wrong.py:2: syntax:"),
    ("shell", "scripts/tool", "#!/usr/bin/env bash\nif true; then\n", "scripts/tool:3: shell:"),
]

ALLOWED = [
    ("sizes", "src/net/net.cpp", APPEND + function(70)),
    ("sizes", "src/net/net.cpp", APPEND + "const int kTable[] = {\n" + "    1,\n" * 90 + "};\n"),
    ("sizes", "src/net/net.cpp", APPEND + "int f() {\n  const int table[] = {\n" + "    1,\n" * 90
     + "  };\n  return table[0];\n}\n"),
    ("sizes", "src/net/net.cpp", APPEND + "int f(int x) {\n  switch (x) {\n"
     + "".join(f"    case {i}: return {i};\n" for i in range(90)) + "  }\n}\n"),
    ("sizes", "src/net/net.cpp", APPEND + "namespace a {\nclass B : public C<D> {\n"
     + "  int f(int x = 1, E e = {}) const { return x; }\n" * 90 + "};\n}\n"),
    ("words", "src/net/net.cpp", APPEND + "// std::rand, printf( and sleep_for in a comment\n"),
    ("words", "src/net/net.cpp", APPEND + "void f() { std::this_thread::sleep_for(x); }\n"),
    ("words", "src/net/net.cpp", APPEND + "auto a = rng.rand(); fmt::print(a); x.sleep(1);\n"),
    ("words", "README.md", APPEND + "| table " * 20 + "|\n"),
    ("words", "README.md", APPEND + "See https://example.com/" + "long" * 30 + "\n"),
    ("words", "README.md", APPEND + "Run src/work/x, ~/work/x and ../work/x.\n"),
    ("arrows", "src/cli/main.cpp", APPEND + '#include "eplb/private.h"\n'),
    ("arrows", "src/cli/main.cpp", APPEND + '// #include "gone/gone.h"\n'),
]


class CheckTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="hadal-check-")
        self.addCleanup(shutil.rmtree, self.root)
        subprocess.run(["git", "init", "-q", self.root], check=True)
        self.reset()

    def reset(self):
        for name in os.listdir(self.root):
            if name != ".git":
                path = os.path.join(self.root, name)
                shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
        for file, text in CLEAN.items():
            self.write(file, text)
        self.write(".gitignore", "/build/\n")

    def write(self, file, text):
        path = os.path.join(self.root, file)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    def plant(self, file, text):
        if text.startswith(APPEND):
            text = CLEAN[file] + text.removeprefix(APPEND)
        self.write(file, text)

    def check(self, *names, database=None):
        command = [sys.executable, CHECK, "--root", self.root, *names]
        if database:
            command += ["--database", database]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.stderr, "")
        return done

    def test_a_clean_tree_passes(self):
        done = self.check(*TEXT_RULES)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn(" 0 violations\n", done.stdout)

    def test_each_planted_violation_is_found_and_nothing_else(self):
        for check, file, text, expected in PLANTED:
            with self.subTest(expected):
                self.reset()
                self.plant(file, text)
                done = self.check(check)
                self.assertIn(expected, done.stdout)
                self.assertEqual(done.returncode, 1)
                self.assertIn(" 1 violation\n", done.stdout)

    def test_what_only_looks_like_a_violation_passes(self):
        for check, file, text in ALLOWED:
            with self.subTest(text[:60]):
                self.reset()
                self.plant(file, text)
                done = self.check(check)
                self.assertEqual(done.returncode, 0, done.stdout)

    def test_a_systems_private_header_is_for_itself_and_for_cli(self):
        self.write("src/deps.txt", "base:\neplb: base\nnet: base eplb\ncli: base net eplb\n")
        self.plant("src/net/net.cpp", APPEND + '#include "eplb/private.h"\n')
        done = self.check("arrows")
        self.assertIn('src/net/net.cpp:5: arrows: "eplb/private.h" is private to src/eplb',
                      done.stdout)

    def test_an_unknown_check_is_refused(self):
        done = subprocess.run([sys.executable, CHECK, "nonsense"], capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("no check nonsense", done.stderr)

    def database(self):
        sources = [f for f in CLEAN if f.endswith(".cpp")]
        path = os.path.join(self.root, "build", "commands.json")
        self.write("build/commands.json", json.dumps([
            {"directory": self.root, "file": file,
             "command": f"g++ -I{self.root}/src -std=gnu++23 -Wall -o x.o -c {file}"}
            for file in sources]))
        return path

    @unittest.skipUnless(shutil.which("g++"), "g++ is not installed")
    def test_headers_must_compile_alone(self):
        database = self.database()
        self.assertEqual(self.check("headers", database=database).returncode, 0)
        self.plant("src/net/frame.h", "#pragma once\nstd::string name();\n")
        for _ in range(2):  # found, then remembered
            done = self.check("headers", database=database)
            self.assertIn("src/net/frame.h:2: headers: net/frame.h does not compile", done.stdout)
        self.plant("src/net/frame.h", "#pragma once\n#include <string>\nstd::string name();\n")
        self.assertEqual(self.check("headers", database=database).returncode, 0)

    def test_a_change_in_an_included_header_is_seen(self):
        if not shutil.which("g++"):
            self.skipTest("g++ is not installed")
        database = self.database()
        self.plant("src/eplb/eplb.h", '#pragma once\n#include "base/base.h"\n'
                   "inline int four() { return hadal::twice(2); }\n")
        self.assertEqual(self.check("headers", database=database).returncode, 0)
        self.plant("src/base/base.h", "#pragma once\n")
        done = self.check("headers", database=database)
        self.assertIn("src/eplb/eplb.h:3: headers: eplb/eplb.h does not compile", done.stdout)

    @unittest.skipUnless(shutil.which("clang-format-19"), "clang-format-19 is not installed")
    def test_format(self):
        self.write(".clang-format", "BasedOnStyle: Google\nColumnLimit: 100\n")
        self.plant("src/net/net.cpp", APPEND + "int  a ;\n")
        self.assertIn("src/net/net.cpp:5: format: differs", self.check("format").stdout)

    @unittest.skipUnless(shutil.which("clang-tidy-19"), "clang-tidy-19 is not installed")
    def test_clang_tidy(self):
        database = self.database()
        self.write(".clang-tidy", "Checks: '-*,bugprone-*'\nWarningsAsErrors: '*'\n"
                   "HeaderFilterRegex: '.*'\n")
        self.plant("src/net/net.cpp", "#include \"net/frame.h\"\n")
        self.plant("src/net/frame.h", "#pragma once\ninline bool same(int x) { return x = 1; }\n"
                   "inline void f(int x) {\n  if (x = 2) {\n  }\n}\n")
        for _ in range(2):  # found, then remembered; once, though two files include the header
            done = self.check("clang-tidy", database=database)
            self.assertEqual(done.stdout.count("src/net/frame.h:4: clang-tidy: "), 1, done.stdout)
        self.plant("src/net/frame.h", "#pragma once\ninline bool same(int x) { return x == 1; }\n")
        self.assertEqual(self.check("clang-tidy", database=database).returncode, 0)

    @unittest.skipUnless(shutil.which("clang-tidy-19"), "clang-tidy-19 is not installed")
    def test_analyzer(self):
        self.plant("src/net/net.cpp", APPEND + "int read(int* p) { return p ? 0 : *p; }\n")
        done = self.check("analyzer", database=self.database())
        self.assertIn("src/net/net.cpp:5: analyzer: ", done.stdout)


if __name__ == "__main__":
    unittest.main()
