"""Traces of `hadal trace generate` for the end-to-end tests, with the answers that come with them."""

import csv
import io
import json
import os
import shutil
import tempfile

import cli


def generate(folder, *arguments):
    """The traces of the job in `folder`, by rank, and its answers."""
    done = cli.hadal("trace", "generate", "-o", folder, *arguments)
    assert done.returncode == 0, done.stderr
    with open(os.path.join(folder, "answers.json"), encoding="utf-8") as file:
        answers = json.load(file)
    return [os.path.join(folder, f"rank{r}.json") for r in range(len(answers["ranks"]))], answers


class TraceTest(cli.CliTest):
    """Tests of one job, which is generated once: `paths` and `answers`."""

    JOB = ("--ranks", 2, "--layers", 2, "--steps", 2)

    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.shared)
        cls.paths, cls.answers = generate(os.path.join(cls.shared, "job"), *cls.JOB)

    def generate(self, *arguments):
        """Another job, of this test alone."""
        return generate(self.path("own"), *arguments)

    def noted(self, *arguments):
        """Standard output of a command that works, and its notes on standard error."""
        done = cli.hadal(*arguments)
        self.assertEqual(done.returncode, 0, (arguments, done.stderr))
        self.assertRegex(done.stderr, r"\A(hadal: note: [^\n]+\n)*\Z")
        return done.stdout, done.stderr

    def json(self, *arguments):
        return json.loads(self.noted(*arguments)[0])

    def csv(self, *arguments):
        """The rows behind the header, as dictionaries; every row is as wide as the header."""
        rows = list(csv.reader(io.StringIO(self.noted(*arguments, "--csv")[0], newline="")))
        header = rows[0]
        self.assertEqual(len(set(header)), len(header), arguments)
        self.assertNotIn("", header, arguments)
        self.assertEqual({len(row) for row in rows}, {len(header)}, arguments)
        return [dict(zip(header, row)) for row in rows[1:]]

    def near(self, seen, known, what=None):
        """Equal to the nanosecond; both are microseconds."""
        self.assertAlmostEqual(seen, known, delta=5e-4, msg=what)


def column_sum(rows, key):
    return sum(float(row[key]) for row in rows)
