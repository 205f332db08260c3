"""What all commands of `hadal trace` have in common: forms of output, and what users do wrong."""

import json

import cli
from trace_job import TraceTest

SINGLE = ["summary", "kernels", "streams", "regions", "overlap", "gates", "launch", "comm",
          "occupancy", "roofline", "memory", "patterns", "findings", "critical", "info"]


class EveryVerb(TraceTest):
    JOB = ("--ranks", 2, "--layers", 1, "--steps", 1)

    def commands(self, first=None, second=None):
        """Every command that has --json and --csv, on these files."""
        first, second = first or self.paths[0], second or self.paths[1]
        for verb in SINGLE:
            yield ("trace", verb, first)
        yield ("trace", "check", first, "--max-idle", "100%")
        yield ("trace", "report", first, "-o", self.path("report.html"))
        yield ("trace", "query", first, "cat=kernel")
        yield ("trace", "diff", first, second)
        yield ("trace", "ranks", first, second)

    def writers(self, path):
        yield ("trace", "cut", path, "--window", "0:1s", "-o", self.path("cut.json"))
        yield ("trace", "merge", path, self.paths[1], "-o", self.path("merged.json"))

    def test_text_json_and_csv(self):
        for command in self.commands():
            with self.subTest(command[1]):
                text, notes = self.noted(*command)
                self.assertGreater(len(text.splitlines()), 0)
                self.assertEqual(notes, "", "notes are part of the text")
                self.json(*command, "--json")
                self.assertGreater(len(self.csv(*command)), 0)
                self.fails(2, "--json and --csv exclude each other", *command, "--json", "--csv")

    def test_a_missing_file(self):
        missing = self.path("missing.json")
        for command in [*self.commands(first=missing), *self.writers(missing)]:
            for form in ([], ["--json"]):
                self.fails(2, "missing.json: No such file or directory", *command, *form)

    def test_an_empty_file(self):
        empty = self.file("empty.json", "")
        for command in [*self.commands(second=empty), *self.writers(empty)]:
            if command[1] in ("diff", "ranks", "cut", "merge"):
                self.fails(2, "empty.json: not a trace: the file is empty", *command)
        for command in self.commands(first=empty):
            self.fails(2, "empty.json: not a trace: the file is empty", *command)

    def test_a_truncated_file_is_read_and_said_to_be(self):
        with open(self.paths[0], "rb") as file:
            whole = file.read()
        truncated = self.file("rank0.json", whole[:len(whole) * 2 // 3])
        sentence = "the file ends in the middle"
        for command in self.commands(first=truncated):
            with self.subTest(command[1]):
                text, notes = self.noted(*command)
                document, json_notes = self.noted(*command, "--json")
                document = json.loads(document)
                self.csv(*command)
                if command[1] == "info":
                    self.assertEqual(document["health"]["truncated_at"], len(whole) * 2 // 3)
                    self.assertIn("truncated", text)
                    continue
                self.assertIn(sentence, text)
                self.assertIn(sentence, json_notes)
                self.assertEqual(notes, "")
        for command in self.writers(truncated):
            self.assertIn("rank0.json ends in the middle", self.ok(*command))
            self.assertEqual(self.json(*command, "--json")["truncated"], [truncated])

    def test_wrong_options(self):
        for command in [*self.commands(), *self.writers(self.paths[0])]:
            with self.subTest(command[1]):
                self.fails(2, "unknown option '--no-such'", *command, "--no-such")
                self.fails(2, "is required", "trace", command[1])
        for command in self.commands():
            self.fails(2, "--top is '0'", *command, "--top", 0)
            self.fails(2, "--threads is '-1'", *command, "--threads", -1)
            self.fails(2, "it must be START:END", *command, "--window", "later")
            self.fails(2, "no-such.toml", *command, "--rules", self.path("no-such.toml"))

    def test_without_gpu_work(self):
        """Of a trace of the host, an empty trace, and a device that is not there."""
        host = self.file("host.json", json.dumps({"traceEvents": [
            {"ph": "X", "cat": "cpu_op", "name": "aten::add", "pid": 1, "tid": 1, "ts": 5, "dur": 3}]}))
        nothing = self.file("nothing.json", '{"traceEvents": []}')
        for path, options in ((host, ()), (nothing, ()), (self.paths[0], ("--device", 7))):
            for command in self.commands(first=path):
                if command[1] == "check":
                    self.fails(2, "so there is nothing to check", *command, *options)
                    continue
                with self.subTest(command[1]):
                    text, _ = self.noted(*command, *options)
                    self.json(*command, *options, "--json")
                    self.csv(*command, *options)
                    if command[1] != "info":
                        self.assertIn("no kernels, copies or memsets", text)

    def test_output_that_cannot_be_written(self):
        nowhere = self.path("no/folder/out")
        self.fails(2, "no/folder/out", "trace", "cut", self.paths[0], "--window", "0:1ms", "-o", nowhere)
        self.fails(2, "no/folder/out", "trace", "merge", *self.paths, "-o", nowhere)
        self.fails(2, "no/folder/out", "trace", "report", *self.paths, "-o", nowhere)


if __name__ == "__main__":
    cli.main()
