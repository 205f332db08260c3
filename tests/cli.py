"""Runs the built `hadal` for the end-to-end tests: python3 x_test.py path/to/hadal."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

HADAL = None


def hadal(*arguments, stdin=None, stdout=subprocess.PIPE, env=None):
    """The finished process, its output as text. Crashes and hangs are failures at once."""
    done = subprocess.run([HADAL, *map(str, arguments)], input=stdin, stdout=stdout,
                          stderr=subprocess.PIPE, timeout=240, env=env)
    assert done.returncode >= 0, f"hadal {arguments} died of signal {-done.returncode}"
    done.stdout = (done.stdout or b"").decode()
    done.stderr = done.stderr.decode()
    return done


class CliTest(unittest.TestCase):
    """Assertions that every command keeps; a directory for files that goes away."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.directory = holder.name

    def path(self, name):
        return os.path.join(self.directory, name)

    def file(self, name, content):
        path = self.path(name)
        with open(path, "wb") as out:
            out.write(content if isinstance(content, bytes) else content.encode())
        return path

    def ok(self, *arguments, code=0, **options):
        """Standard output of a command that ends with `code` and says nothing else."""
        done = hadal(*arguments, **options)
        self.assertEqual((done.returncode, done.stderr), (code, ""), arguments)
        return done.stdout

    def json(self, *arguments, **options):
        return json.loads(self.ok(*arguments, **options))

    def fails(self, code, sentence, *arguments, **options):
        """Nothing on standard output, one line on standard error that contains `sentence`."""
        done = hadal(*arguments, **options)
        self.assertEqual((done.returncode, done.stdout), (code, ""), (arguments, done.stderr))
        self.assertRegex(done.stderr, r"\Ahadal: [^\n]*\n\Z")
        self.assertIn(sentence, done.stderr)


def main():
    global HADAL
    HADAL = os.path.abspath(sys.argv.pop(1))
    unittest.main(module="__main__", verbosity=1)
