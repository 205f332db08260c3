'use strict';
// Opens the report: decodes its payload in a worker, then builds the page around it.

/** The worker's result; in the page itself where a browser allows no worker from a blob. */
function decode(blocks, bytesTotal, sms, progress) {
  return new Promise((resolve, reject) => {
    const here = () => decodePayload(blocks, bytesTotal, sms, progress).then(resolve, reject);
    let worker;
    try {
      const url = URL.createObjectURL(new Blob([$('worker').textContent], {type: 'text/javascript'}));
      worker = new Worker(url);
    } catch {
      here();
      return;
    }
    worker.onmessage = ({data}) => {
      if (data.progress !== undefined) return progress(data.progress);
      worker.terminate();
      if (data.result) resolve(data.result); else reject(new Error(data.error));
    };
    worker.onerror = () => {
      worker.terminate();
      here();
    };
    worker.postMessage({blocks, bytes: bytesTotal, sms});
  });
}

function currentTheme() {
  let chosen = null;
  try {
    chosen = localStorage.getItem('hadal-theme');
  } catch { /* file:// pages of some browsers have no storage */ }
  return chosen || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
}

class App {
  constructor(model) {
    this.model = model;
    const theme = makeTheme(currentTheme());
    document.documentElement.dataset.theme = theme.name;
    const t = this.timeline = new Timeline(model, theme, location.hash.slice(1));
    this.search = new Search(t);
    t.findName = name => { this.search.input.value = name; this.search.run(); };
    this.detail = new Detail(t);
    this.tabs = new Tabs(t, this.detail);
    this.legend = new Legend(t);
    this.findings = new Findings(t);
    this.measure = new MeasureCard(t);
    this.input = new Input(t, {
      search: () => this.search.input.select(),
      help: showHelp,
      escape: () => this.escape(),
      next: direction => this.search.step(direction),
      phase: k => this.legend.go(k),
      tab: direction => this.tabs.step(direction),
      rank: direction => this.stepRank(direction),
      tip: (bar, event) => this.tip(bar, event),
    });
    this.controls();
    this.figures();
    this.splitter();
    t.on('move', () => { $('tip').hidden = true; });
  }

  /** All ranks, then each of them, in a circle. */
  stepRank(direction) {
    const t = this.timeline, {ranks} = this.model, n = ranks.length + 1;
    if (ranks.length < 2) return;
    const at = t.shownRanks.length > 1 ? 0 : t.mainRank.index + 1, next = (at + direction + n) % n;
    t.showRanks(next === 0 ? ranks : [ranks[next - 1]]);
  }

  figures() { showFigures(this.model, this.timeline.mainRank, this.timeline.theme); }

  controls() {
    const t = this.timeline, {meta, ranks} = this.model, info = ranks[0].info;
    document.title = `${shown(meta.title, 200)} – hadal trace`;
    // Of paths the file's name; the rest is in the tip.
    $('title').textContent = shown(meta.title.replace(/(^|, )[^,]*\//g, '$1'), 200);
    $('title').title = shown(meta.title, 2000);
    const world = info.world_size > 0 ? ` of ${info.world_size}` : '';
    $('subtitle').textContent = [ranks.length > 1 ? `${ranks.length} ranks` : info.label + world, info.device,
      `${plainNumber(ranks.reduce((n, r) => n + r.info.events, 0))} events`]
      .filter(Boolean).map(s => shown(s, 80)).join(' · ');
    $('subtitle').title = $('subtitle').textContent;
    const select = $('rank');
    select.hidden = ranks.length < 2;
    select.append(...ranks.map((r, i) => h('option', {value: String(i)}, shown(r.label, 60))));
    select.append(h('option', {value: 'all'}, 'all ranks'));
    const showSelected = () => { select.value = t.shownRanks.length > 1 ? 'all' : String(t.mainRank.index); };
    showSelected();
    select.onchange = () => {
      t.showRanks(select.value === 'all' ? ranks : [ranks[Number(select.value)]]);
      $('timeline').focus();
    };
    t.on('rank', () => {
      showSelected();
      this.figures();
      this.legend.paint();
      this.findings.showRank();
      this.tabs.showRank();
      this.search.run();
    });
    const color = $('color');
    if (!this.model.hasPhases) color.querySelector('[value=phase]').remove();
    color.value = t.mode;
    color.onchange = () => {
      t.mode = color.value;
      this.legend.paint();
      this.detail.paint();
      t.redraw();
      $('timeline').focus();
    };
    $('theme').onclick = () => this.setTheme(t.theme.name === 'dark' ? 'light' : 'dark', true);
    $('help').onclick = showHelp;
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.setTheme(currentTheme(), false));
  }

  setTheme(name, remember) {
    const t = this.timeline;
    if (remember) {
      try {
        localStorage.setItem('hadal-theme', name);
      } catch { /* then it lasts until the page closes */ }
    }
    document.documentElement.dataset.theme = name;
    t.theme = makeTheme(name);
    t.overview.paint();
    this.figures();
    this.legend.paint();
    this.detail.paint();
    this.measure.update();
    t.redraw();
  }

  /** One step back for each press: search, measured window, finding, selection. */
  escape() {
    const t = this.timeline;
    if ($('keys').open) $('keys').close();
    else if (this.search.input.value) this.search.clear();
    else if (t.measured) t.setMeasure(null);
    else if (t.highlights.length) this.findings.close();
    else t.select(null);
  }

  tip(bar, event) {
    const tip = $('tip');
    tip.hidden = !bar;
    if (!bar) return;
    const {lane, i} = bar, t = this.timeline, box = $('timeline').getBoundingClientRect();
    const count = lane.count && lane.count[i] > 1 ? `${lane.count[i]} merged` : null;
    const size = [time(lane.end[i] - lane.start[i]), count].filter(Boolean).join(' · ');
    tip.replaceChildren(h('b', shown(t.barLabel(lane, i), 120)), h('span', size));
    const x = event.clientX - box.left, y = event.clientY - box.top;
    const left = x + 16 + tip.offsetWidth > box.width ? x - 12 - tip.offsetWidth : x + 14;
    const top = y + 24 + tip.offsetHeight > box.height ? y - tip.offsetHeight - 8 : y + 18;
    tip.style.transform = `translate(${Math.max(0, left)}px, ${Math.max(0, top)}px)`;
  }

  splitter() {
    const split = $('split'), panel = $('panel');
    split.onpointerdown = event => {
      split.setPointerCapture(event.pointerId);
      const from = event.clientY, height = panel.offsetHeight;
      split.onpointermove = e => {
        panel.style.height = `${clamp(height + from - e.clientY, 34, $('stage').offsetHeight - 220)}px`;
      };
      split.onpointerup = () => { split.onpointermove = null; };
      event.preventDefault();
    };
  }
}

async function main() {
  try {
    const meta = JSON.parse($('meta').textContent);
    const elements = [...document.querySelectorAll('script.payload')];
    const blocks = elements.map(e => e.textContent);
    elements.forEach(e => e.remove());  // the text is a copy; drop the original
    const begin = performance.now();
    const decoded = await decode(blocks, meta.payload_bytes, meta.timeline_ranks.map(r => r.sms), done => {
      $('status').textContent = `Opening the trace, ${Math.round(100 * done)}%`;
    });
    const decodeMs = performance.now() - begin;
    const app = new App(new Model(meta, decoded));
    $('loading').remove();
    app.openedMs = performance.now();
    app.decodeMs = decodeMs;
    app.timeline.draw();
    globalThis.hadal = app;  // for the console, and for the test
    document.documentElement.dataset.state = 'ready';
  } catch (error) {
    $('status').textContent = `This report could not be opened: ${error.message || error}`;
    $('loading').classList.add('failed');
    document.documentElement.dataset.state = 'failed';
    throw error;
  }
}

main();
