"""The page of `hadal trace report` in a headless Chromium: figures, zoom, search, selection, findings, hostile names.

    python3 trace_report_test.py path/to/hadal

Skips where no Chromium is installed. Screenshots of what it saw go to HADAL_SCREENSHOTS, if that is set.
"""

import json
import os
import re
import time
import unittest

import chromium
import cli
from cli import CliTest

TRAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "shared", "data", "trace", "train.json")
HOSTILE = [
    "</script><script>document.title = 'taken'</script>",
    "<img src=x onerror=\"document.title = 'taken'\">",
    "quote \" ' ` \\ & &amp; <!-- ]]> {{x}}",
    "right-to-left \u202e gnp.exe \u2066 isolate \u2069 \u200f",
    "separators \u2028 \u2029 and emoji \U0001f680",
    "__proto__",
    "constructor",
    "",
    "long " + "x" * 100_000,
]


def events(names):
    """A host call and a kernel of each name, 100 us apart, as a trace of the profiler."""
    rows = []
    for i, name in enumerate(names):
        ids = {"correlation": i + 1, "External id": i + 1}
        rows.append({"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1, "ts": 100 * i + 1,
                     "dur": 5, "args": ids})
        rows.append({"ph": "X", "cat": "kernel", "name": name, "pid": 0, "tid": 7, "ts": 100 * i + 20, "dur": 60,
                     "args": {"device": 0, "stream": 7, "grid": [16, 1, 1], "block": [128, 1, 1], "registers per thread": 32,
                              "shared memory": 0, **ids}})
    return {"schemaVersion": 1, "deviceProperties": [{"id": 0, "name": HOSTILE[0], "numSms": 132}], "traceEvents": rows,
            "traceName": HOSTILE[0] + ".json"}


@unittest.skipUnless(chromium.find(), "Chromium is not installed (scripts/bootstrap installs it)")
class ReportTest(CliTest):
    """Every page is closed with no problem on its console and no request to anything but itself."""

    @classmethod
    def setUpClass(cls):
        cls.browser = chromium.Browser(webgl=True).__enter__()
        cls.addClassCleanup(cls.browser.__exit__)

    def report(self, *arguments):
        path = self.path("report.html")
        self.ok("trace", "report", *arguments, "-o", path)
        return path

    def open(self, path, fragment="", **options):
        page = self.browser.open(f"file://{path}{fragment}", **options)
        page.wait("document.documentElement.dataset.state")
        self.assertEqual(page.evaluate("document.documentElement.dataset.state"), "ready", page.problems)
        self.addCleanup(self.check_quiet, page, path)
        return page

    def check_quiet(self, page, path):
        self.assertEqual(page.problems, [])
        foreign = [u for u in page.requests if not u.startswith(("blob:", "data:")) and path not in u]
        self.assertEqual(foreign, [])

    def settle(self, page):
        """Waits for the end of a glide."""
        page.wait("!hadal.timeline.glide && !hadal.timeline.scheduled")

    def view(self, page):
        return page.evaluate("[hadal.timeline.view.start, hadal.timeline.view.end]")

    def shot(self, page, name):
        if folder := os.environ.get("HADAL_SCREENSHOTS"):
            page.screenshot(os.path.join(folder, name + ".png"))

    def center(self, page, selector):
        return page.evaluate(f"(() => {{ const b = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
                             "return [b.x + b.width / 2, b.y + b.height / 2]; })()")

    def bar_position(self, page, stream, index):
        """Where the middle of a stream's bar is on the screen."""
        return page.evaluate(f"""(() => {{
            const t = hadal.timeline, track = t.mainRank.tracks.find(x => x.stream === {stream}), lane = track.lanes[0];
            const bar = {{rank: t.mainRank, lane, i: {index}, id: lane.firstId + {index}}}, box = t.marks.box(t, bar);
            const view = t.box.getBoundingClientRect();
            return [view.x + (box.x0 + box.x1) / 2, view.y + box.y + box.h / 2];
        }})()""")


@unittest.skipUnless(os.path.exists(TRAIN), "the published training trace is not here")
class TrainTest(ReportTest):
    def setUp(self):
        super().setUp()
        self.path_of_report = self.report(TRAIN)
        self.gpu = self.json("trace", "summary", TRAIN, "--json")["gpu"]

    def check_figures(self, page):
        for name, key in (("span", "span_us"), ("busy", "busy_us"), ("overlap", "overlap_percent"),
                          ("exposed", "exposed_communication_us"), ("idle", "idle_us")):
            seen = float(page.evaluate(f"document.querySelector('.figure.{name}').dataset.value"))
            self.assertAlmostEqual(seen, self.gpu[key], delta=1e-6 * max(1, self.gpu[key]), msg=name)
        self.assertRegex(page.evaluate("document.querySelector('.figure.overlap .value').textContent"), r"^96\.32%$")
        # The page computes the same from its own bars' sets: the live breakdown agrees with the analyses.
        own = page.evaluate("hadal.model.breakdown(hadal.timeline.mainRank, ...hadal.model.gpuSpan(hadal.timeline.mainRank))")
        for key, name in (("span", "span_us"), ("busy", "busy_us"), ("idle", "idle_us"), ("overlap", "overlap_us"),
                          ("compute", "compute_us"), ("exposed", "exposed_communication_us"),
                          ("exposedMemory", "exposed_memory_us")):
            self.assertAlmostEqual(own[key] / 1000, self.gpu[name], places=3, msg=name)

    def test_webgl(self):
        page = self.open(self.path_of_report, "#webgl2")
        self.assertEqual(page.evaluate("hadal.timeline.drawer.name"), "webgl2")
        self.walk(page, "webgl")

    def test_canvas(self):
        page = self.open(self.path_of_report, "#canvas2d", dark=True, scale=2)
        self.assertEqual(page.evaluate("[hadal.timeline.drawer.name, hadal.timeline.theme.name]"), ["canvas2d", "dark"])
        self.walk(page, "canvas")

    def walk(self, page, name):
        self.check_figures(page)
        self.assertTrue(self.painted(page))
        self.shot(page, name + "-open")
        self.zoom(page)
        self.finding(page)
        self.shot(page, name + "-finding")
        self.selection(page)
        self.shot(page, name + "-selection")
        self.search(page)
        self.measure(page)
        self.shot(page, name + "-measure")
        self.keys(page)

    def painted(self, page):
        """Whether the bars' canvas shows more than a few colours."""
        return page.evaluate("""(() => {
            const t = hadal.timeline, c = document.createElement('canvas');
            t.draw();
            c.width = t.canvas.width; c.height = t.canvas.height;
            const x = c.getContext('2d');
            x.drawImage(t.canvas, 0, 0);
            const seen = new Set(new Uint32Array(x.getImageData(0, 0, c.width, c.height).data.buffer));
            return seen.size > 4;
        })()""")

    def zoom(self, page):
        start, end = self.view(page)
        x, y = self.center(page, "#view")
        under = page.evaluate(f"hadal.timeline.timeAt({x} - hadal.timeline.box.getBoundingClientRect().x)")
        page.wheel(x, y, dy=-600)
        page.wheel(x, y, dy=-600)
        page.wait(f"hadal.timeline.view.end - hadal.timeline.view.start < {(end - start) / 2}")
        still = page.evaluate(f"hadal.timeline.timeAt({x} - hadal.timeline.box.getBoundingClientRect().x)")
        self.assertAlmostEqual(still, under, delta=1e-6 * (end - start))  # what is under the pointer stays there
        page.key("f")
        self.settle(page)
        seen = self.view(page)
        self.assertLessEqual(seen[0], 0)
        self.assertGreaterEqual(seen[1], page.evaluate("hadal.timeline.extent.end"))

    def finding(self, page):
        before = self.view(page)
        x, y = self.center(page, "#findings .finding:nth-child(2) .claim")
        page.click(x, y)
        self.settle(page)
        after = self.view(page)
        self.assertLess(after[1] - after[0], (before[1] - before[0]) / 2)
        pieces = page.evaluate("hadal.findings.list[1].evidence")
        evidence = max(pieces, key=lambda e: e["end_us"] - e["start_us"])
        self.assertLess(after[0], evidence["start_us"] * 1000)
        self.assertGreater(after[1], evidence["end_us"] * 1000)
        self.assertGreater(page.evaluate("hadal.timeline.highlights.length"), 0)

    def selection(self, page):
        page.key("f")
        self.settle(page)
        longest = page.evaluate("""(() => { const lane = hadal.timeline.mainRank.tracks.find(x => x.stream === 7).lanes[0];
            const length = i => lane.end[i] - lane.start[i];
            let best = 0; for (let i = 0; i < lane.n; ++i) if (length(i) > length(best)) best = i;
            return best; })()""")
        page.click(*self.bar_position(page, 7, longest))
        page.wait("hadal.timeline.selection")
        detail = page.evaluate("document.querySelector('.detail').innerText")
        for word in ("Duration", "stream 7", "Grid", "Block", "Registers", "Shared", "Launched", "Region"):
            self.assertIn(word, detail)
        # One arrow, from the call on the host.
        self.assertEqual(page.evaluate("hadal.timeline.links().length"), 1)
        self.assertEqual(page.evaluate("hadal.timeline.links()[0][0].lane.track.kind"), "host")

    def search(self, page):
        page.key("/")
        page.type("gemm")
        page.wait("hadal.timeline.matches")
        with open(TRAIN, encoding="utf-8") as file:
            trace = json.load(file)["traceEvents"]
        want = sum("gemm" in e["name"].lower() for e in trace if e["ph"] in "XiIC")
        self.assertEqual(page.evaluate("hadal.search.total"), want)
        self.assertTrue(page.evaluate("document.querySelector('#hits').textContent").startswith(str(want)))
        page.key("Enter")
        first = page.evaluate("[hadal.timeline.selection.id, hadal.search.at]")
        page.key("Enter")
        second = page.evaluate("[hadal.timeline.selection.id, hadal.search.at]")
        self.assertEqual(second[1], first[1] + 1)
        self.assertNotEqual(second[0], first[0])
        page.key("Enter", modifiers=8)  # Shift
        self.assertEqual(page.evaluate("[hadal.timeline.selection.id, hadal.search.at]"), first)
        page.key("Escape")
        self.assertIsNone(page.evaluate("hadal.timeline.matches"))

    def measure(self, page):
        page.key("f")
        self.settle(page)
        x, y = self.center(page, "#view")
        page.drag(x - 200, y, x + 100, y + 5)
        window = page.evaluate("hadal.timeline.measured")
        self.assertGreater(window["end"], window["start"])
        part = page.evaluate(f"hadal.model.breakdown(hadal.timeline.mainRank, {window['start']}, {window['end']})")
        self.assertAlmostEqual(part["busy"] + part["idle"], part["span"], places=3)
        self.assertAlmostEqual(part["compute"] + part["exposed"] + part["exposedMemory"], part["busy"], places=3)
        self.assertFalse(page.evaluate("document.querySelector('#measure').hidden"))
        page.key("Escape")
        self.assertTrue(page.evaluate("document.querySelector('#measure').hidden"))

    def keys(self, page):
        page.key("1")
        self.settle(page)
        name = page.evaluate("hadal.timeline.barLabel(hadal.timeline.selection.lane, hadal.timeline.selection.i)")
        self.assertEqual(name, "combine(B) #0")  # the first region of the step
        page.key("m")
        self.assertTrue(page.evaluate("Boolean(hadal.timeline.measured)"))
        page.key("?")
        self.assertTrue(page.evaluate("document.querySelector('#keys').open"))
        page.key("Escape")
        self.assertFalse(page.evaluate("document.querySelector('#keys').open"))
        page.click(*self.center(page, "#theme"))
        self.assertIn(page.evaluate("document.documentElement.dataset.theme"), ("light", "dark"))
        for i in range(page.evaluate("hadal.tabs.tabs.length")):
            page.evaluate(f"hadal.tabs.open({i})")
            self.assertTrue(page.evaluate("document.querySelector('#body').firstElementChild !== null"))

    def test_every_event_is_there(self):
        page = self.open(self.path_of_report, "#canvas2d")
        with open(TRAIN, encoding="utf-8") as file:
            trace = [e for e in json.load(file)["traceEvents"] if e["ph"] in "XiIC"]
        regions = page.evaluate("hadal.timeline.mainRank.tracks.find(t => t.kind === 'regions').bars")
        self.assertEqual(page.evaluate("hadal.timeline.mainRank.bars") - regions, len(trace))
        # And each of them is hit where it is drawn, when zoomed in.
        missed = page.evaluate("""(() => { let missed = 0;
            for (const lane of hadal.timeline.mainRank.lanes) for (let i = 0; i < lane.n; ++i) {
              const j = hit(lane, (lane.start[i] + lane.end[i]) / 2, 0);
              if (j < 0 || lane.start[j] > lane.end[i] || lane.end[j] < lane.start[i]) ++missed;
            }
            return missed; })()""")
        self.assertEqual(missed, 0)

    def test_resize(self):
        page = self.open(self.path_of_report, "#canvas2d")
        for width, height, scale in ((900, 600, 1), (1920, 1080, 2), (1440, 900, 1)):
            page.resize(width, height, scale)
            page.wait(f"hadal.timeline.view.width === Math.round(hadal.timeline.box.clientWidth * {scale})")
            self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), width)
            self.assertTrue(self.painted(page))

    def test_lost_context(self):
        page = self.open(self.path_of_report, "#webgl2")
        page.evaluate("hadal.timeline.drawer.gl.getExtension('WEBGL_lose_context').loseContext()")
        page.wait("hadal.timeline.drawer.name === 'canvas2d'")
        self.assertTrue(self.painted(page))
        page.problems = [p for p in page.problems if "CONTEXT_LOST" not in p]

    def test_reports_are_reproducible(self):
        with open(self.path_of_report, "rb") as file:
            first = file.read()
        with open(self.report(TRAIN), "rb") as file:
            self.assertEqual(first, file.read())


class NamesTest(ReportTest):
    def test_hostile_names(self):
        names = HOSTILE + ["nul \\u0000 and bell \\u0007 inside"]
        text = json.dumps(events(names)).replace("\\\\u00", "\\u00")  # the last name gets real escapes
        trace = self.file("<b>x & y.json", text)
        path = self.report(trace)
        with open(path, encoding="utf-8") as file:
            html = file.read()
        # Names are data: nothing in the JSON or the payload could end its element.
        for content in re.findall(r'<script type="application/[^>]*>(.*?)</script', html, re.S):
            self.assertFalse(re.search("[<>&\u202e]", content))
        self.assertTrue(html.isascii() or not re.search("[\u2028\u2029\u202a-\u202e\u2066-\u2069]", html))
        for fragment in ("#webgl2", "#canvas2d"):
            page = self.open(path, fragment)
            self.assertTrue(page.evaluate("document.title").endswith("hadal trace"))
            self.assertEqual(page.evaluate("hadal.timeline.mainRank.tracks.find(t => t.kind === 'gpu').bars"), len(names))
            for i in range(len(names)):
                page.evaluate(f"""(() => {{
                    const rank = hadal.timeline.mainRank, lane = rank.tracks.find(t => t.kind === 'gpu').lanes[0];
                    hadal.timeline.select({{rank, lane, i: {i}, id: lane.firstId + {i}}}, true);
                }})()""")
                shown = page.evaluate("document.querySelector('.detail code').textContent")
                self.assertNotRegex(shown, "[\u0000-\u001f\u200f\u2028\u2029\u202e\u2066-\u2069]")
                if i < 3:
                    self.assertEqual(shown, names[i])
                if i == 3:
                    self.assertIn("\\u202e gnp.exe", shown)
            self.settle(page)
            for i in range(page.evaluate("hadal.tabs.tabs.length")):
                page.evaluate(f"hadal.tabs.open({i})")
            page.key("/")
            page.type("</script>")
            page.wait("hadal.timeline.matches")
            self.assertEqual(page.evaluate("hadal.search.total"), 1)
            self.assertEqual(page.evaluate("document.images.length + document.querySelectorAll('body > main script').length"), 0)
            self.assertNotEqual(page.evaluate("document.title"), "taken")
            self.shot(page, "names-" + fragment[1:])

    def test_no_script_without_the_policy(self):
        page = self.open(self.report(self.file("x.json", json.dumps(events(["k"])))))
        refused = page.evaluate("fetch('data:,x').then(() => 'fetched', () => 'refused')")
        self.assertEqual(refused, "refused")
        page.problems = [p for p in page.problems if "Content Security Policy" not in p and "Refused to connect" not in p]

    def test_empty_and_tiny_traces(self):
        for name, rows in (("empty", []), ("one", ["k"])):
            with self.subTest(name):
                page = self.open(self.report(self.file(name + ".json", json.dumps(events(rows)))))
                self.assertEqual(page.evaluate("hadal.timeline.mainRank.info.gpu_events"), len(rows))

    def test_several_ranks(self):
        folder = self.path("job")
        self.ok("trace", "generate", "-o", folder, "--ranks", 3, "--layers", 2)
        paths = [os.path.join(folder, f"rank{r}.json") for r in range(3)]
        page = self.open(self.report(*paths))
        self.assertEqual(page.evaluate("hadal.model.ranks.length"), 3)
        self.assertEqual(page.evaluate("hadal.timeline.shownRanks.length"), 3)
        for r, path in enumerate(paths):
            page.evaluate(f"(s => {{ s.value = '{r}'; s.onchange(); }})(document.querySelector('#rank'))")
            gpu = self.json("trace", "summary", path, "--json")["gpu"]
            span = page.evaluate("document.querySelector('.figure.span').dataset.value")
            self.assertAlmostEqual(float(span), gpu["span_us"], places=2)
        page.evaluate("(s => { s.value = 'all'; s.onchange(); })(document.querySelector('#rank'))")
        self.assertEqual(page.evaluate("hadal.timeline.rows.filter(r => r.kind === 'rank').length"), 3)
        self.assertEqual(page.evaluate("document.querySelectorAll('#findings .finding').length"),
                         page.evaluate("hadal.findings.list.length"))
        time.sleep(0.1)
        self.shot(page, "ranks")

    def test_ranks_are_put_on_one_clock(self):
        folder = self.path("job")
        self.ok("trace", "generate", "-o", folder, "--schedule", "dualpipe", "--ranks", 4, "--layers", 2, "--micro-batches", 1,
                "--steps", 1, "--clock-offset", "5ms", "--fault", "straggler:2:15%")
        paths = [os.path.join(folder, f"rank{r}.json") for r in range(4)]
        compared = json.loads(cli.hadal("trace", "ranks", *paths, "--json").stdout)
        page = self.open(self.report(*paths), dark=True)
        # The last barrier ends at the same time on all ranks, though their files say otherwise by milliseconds.
        ends = page.evaluate("""hadal.model.ranks.map(rank => {
            const lane = rank.tracks.find(t => t.role === 'communication').lanes[0];
            let end = 0;
            for (let i = 0; i < lane.n; ++i) if ((lane.kind[i] >> 2 & 3) === 2) end = lane.end[i];
            return [end, end + rank.offset];
        })""")
        own, common = [e[0] for e in ends], [e[1] for e in ends]
        self.assertLess(max(common) - min(common), 5_000)
        clocks = page.evaluate("hadal.model.ranks.map(r => r.clock)")
        for rank, clock in zip(compared["ranks"], clocks):
            self.assertEqual(clock["offset_us"], rank["offset_us"])
            self.assertEqual(clock["residual_us"], rank["residual_us"])
        self.assertGreater(max(c["offset_us"] for c in clocks) - min(c["offset_us"] for c in clocks), 1000)
        # The tab says so, and who is late; its rows lead to the ranks.
        self.assertEqual(page.evaluate("hadal.tabs.tabs[hadal.tabs.current].id"), "ranks")
        text = page.evaluate("document.querySelector('#body').innerText")
        for words in ("on one clock", "uncertain by up to", "Late: rank 2", "Slowest to compute: rank 2"):
            self.assertIn(words, text)
        self.shot(page, "ranks-tab")
        self.assertEqual(page.evaluate("hadal.findings.list.slice(0, 2).map(f => f.id)"), ["late:rank2", "slow:rank2"])
        page.evaluate("[...document.querySelectorAll('#body tbody tr')].find(r => r.innerText.startsWith('3')).click()")
        self.assertEqual(page.evaluate("[hadal.timeline.shownRanks.length, hadal.timeline.mainRank.label]"), [1, "rank 3"])
        # The axis shows the rank's own clock, as its tables do.
        self.assertEqual(page.evaluate("hadal.timeline.origin"), page.evaluate("hadal.model.ranks[3].offset"))
        ranks_of_cards = page.evaluate("[...new Set(hadal.findings.list.filter((f, i) => "
                                       "hadal.findings.cards[i].isConnected).map(f => f.rank ?? 'all'))]")
        self.assertEqual(sorted(map(str, ranks_of_cards)), ["3", "all"])
        # A click on a collective shows it on all ranks.
        page.evaluate("hadal.tabs.open(hadal.tabs.tabs.findIndex(t => t.id === 'ranks'))")
        page.evaluate("""[...document.querySelectorAll('#body section')].find(s =>
            s.querySelector('h3').textContent.startsWith('Single')).querySelector('tbody tr').click()""")
        self.settle(page)
        self.assertEqual(page.evaluate("hadal.timeline.shownRanks.length"), 4)
        start, end = self.view(page)
        mark = page.evaluate("hadal.timeline.highlights[0]")
        self.assertTrue(start < mark["start"] < mark["end"] < end)
        page.key("r")
        self.assertEqual(page.evaluate("hadal.timeline.mainRank.label"), "rank 0")

    def test_traces_of_one_rank_stand_side_by_side(self):
        trace = self.file("a.json", json.dumps({**events(["k"]), "distributedInfo": {"rank": 0, "world_size": 1}}))
        other = self.file("b.json", json.dumps({**events(["k", "l"]), "distributedInfo": {"rank": 0, "world_size": 1}}))
        page = self.open(self.report(trace, other))
        self.assertEqual(page.evaluate("hadal.model.ranks.map(r => r.label)"), ["a.json", "b.json"])
        self.assertFalse(page.evaluate("hadal.tabs.tabs.some(t => t.id === 'ranks')"))

    def test_model_and_rules(self):
        trace = self.path("one.json")
        self.ok("trace", "generate", "-o", trace, "--schedule", "dualpipe", "--ranks", 1, "--layers", 2, "--micro-batches", 1,
                "--steps", 1)
        model = self.file("model.toml", 'device = "NVIDIA H800"\nfp8_tflops = 1234\ntokens = 4096\nhidden = 7168\nnodes = 4\n')
        page = self.open(self.report(trace, "--model", model))
        page.evaluate("hadal.tabs.open(hadal.tabs.tabs.findIndex(t => t.id === 'roofline'))")
        text = page.evaluate("document.querySelector('#body').innerText")
        self.assertIn("FP8 1234", text)
        self.assertIn("Bandwidth of communication", text)
        page.evaluate("hadal.tabs.open(hadal.tabs.tabs.findIndex(t => t.id === 'health'))")
        self.assertNotIn("--model", page.evaluate("document.querySelector('#body').innerText"))
        found = self.json("trace", "findings", trace, "--model", model, "--json")
        self.assertFalse([text for text in found["cannot_tell"] if "--model" in text])
        self.assertEqual(page.evaluate("hadal.findings.list.map(f => f.id)"), [f["id"] for f in found["findings"]])
        rules = self.file("rules.toml", 'transfer = ["gemm"]\n')
        before = self.json("trace", "summary", trace, "--json")["gpu"]["communication_us"]
        page = self.open(self.report(trace, "--rules", rules))
        after = page.evaluate("hadal.model.analyses.summary.gpu.communication_us")
        self.assertGreater(after, before + 1000)
        self.assertEqual(after, self.json("trace", "summary", trace, "--rules", rules, "--json")["gpu"]["communication_us"])
        self.fails(2, "rules.toml", "trace", "report", trace, "--model", rules)


if __name__ == "__main__":
    cli.main()
