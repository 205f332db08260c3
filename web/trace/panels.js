'use strict';
// Findings on the left, tabs below, the legend with the phases' keys, the help.

const SEVERITY = ['high', 'medium', 'low', 'info'];

/** Findings as cards: a click zooms to all of the evidence, a chip to one piece of it. */
class Findings {
  constructor(timeline) {
    this.t = timeline;
    this.list = timeline.model.analyses.findings || [];
    this.box = $('findings');
    this.cards = this.list.map((finding, i) => this.card(finding, i));
    this.showRank();
  }

  /** The cards of the shown ranks, and those about all of them. */
  showRank() {
    const ranks = this.t.shownRanks.map(r => r.index);
    const isShown = this.list.map(f => f.rank === undefined || ranks.includes(f.rank));
    const list = this.list.filter((_, i) => isShown[i]);
    const counts = SEVERITY.map(s => [s, list.filter(f => f.severity === s).length]).filter(([, n]) => n);
    this.box.replaceChildren(h('header', h('h2', 'Findings'), h('span.counts',
        counts.map(([s, n]) => h(`span.${s}`, {title: `${n} of ${s} severity`}, h('i'), String(n))))),
      list.length ? h('ol', this.cards.filter((_, i) => isShown[i])) : h('p.hint', 'Nothing to report.'));
  }

  card(f, i) {
    const severity = SEVERITY.includes(f.severity) ? f.severity : 'info';
    const evidence = f.evidence || [];
    const chips = evidence.slice(0, 12).map((e, k) => {
      const onclick = event => {
        event.stopPropagation();
        this.open(i, k);
      };
      const name = shown(e.label || `evidence ${k + 1}`, 60);
      return h('button.chip', {onclick, title: name}, h('span', name), h('em', time((e.end_us - e.start_us) * 1000)));
    });
    const ceiling = Number.isFinite(f.ceiling_us) && f.ceiling_us > 0;
    const saving = ceiling ? [`≤ ${time(f.ceiling_us * 1000)}`,
      Number.isFinite(f.ceiling_percent) && h('em', `${f.ceiling_percent.toFixed(1)}%`)] : [];
    const {ranks} = this.t.model, of = ranks.length > 1 && f.rank !== undefined && ranks[f.rank].label;
    const more = evidence.length > 12 && h('span.hint', `and ${evidence.length - 12} more`);
    const onkeydown = e => { if (e.key === 'Enter' && e.target === e.currentTarget) this.open(i); };
    return h(`li.finding.${severity}`, {tabIndex: 0, 'data-id': String(f.id), onclick: () => this.open(i), onkeydown},
      h('div.claim', h('i.severity', {title: severity}), h('p', prose(f.claim || ''))),
      h('div.meta', h('span.ceiling', {title: 'What fixing it could save at most'}, saving),
        h('span.confidence', [of, shown(f.confidence || '')].filter(Boolean).join(' · '))),
      h('div.more', f.action && h('p.action', prose(f.action)), chips.length > 0 && h('div.chips', chips, more)));
  }

  /** Opens a finding; piece k of its evidence, or all. */
  open(i, k = -1) {
    const f = this.list[i], t = this.t, {ranks} = t.model;
    this.cards.forEach((card, j) => card.classList.toggle('open', j === i));
    const all = (f.evidence || []).filter(e => Number.isFinite(e.start_us) && Number.isFinite(e.end_us) &&
        ranks[e.rank ?? 0]);
    const chosen = k >= 0 ? [f.evidence[k]] : all;
    if (!chosen.length) return;
    const first = ranks[chosen[0].rank ?? 0];
    if (f.all_ranks && t.shownRanks.length < ranks.length) t.showRanks(ranks);
    else if (!t.shownRanks.includes(first)) t.showRanks([first]);
    const toPage = (e, us) => us * 1000 + ranks[e.rank ?? 0].offset;
    t.highlights = all.map(e => ({start: toPage(e, e.start_us), end: toPage(e, e.end_us)}));
    t.showWithMargin(...this.extent(chosen.map(e => [toPage(e, e.start_us), toPage(e, e.end_us)])));
    if (t.measured) t.setMeasure(null);
    this.current = i;
  }

  /** All pieces where they lie together; the longest where they are scattered over the trace. */
  extent(pieces) {
    const start = Math.min(...pieces.map(p => p[0])), end = Math.max(...pieces.map(p => p[1]));
    const length = pieces.reduce((sum, p) => sum + p[1] - p[0], 0);
    return end - start <= 8 * length ? [start, end] : pieces.reduce((a, b) => b[1] - b[0] > a[1] - a[0] ? b : a);
  }

  close() {
    this.cards.forEach(card => card.classList.remove('open'));
    this.t.highlights = [];
    this.t.redraw();
  }
}

/** The tabs of the lower pane: the selection, then what the analyses say about the shown rank, then the traces. */
class Tabs {
  constructor(timeline, detail) {
    this.t = timeline;
    this.all = [{id: 'selection', title: 'Selection', element: detail.element}];
    for (const tab of timeline.model.analyses.tabs || []) {
      this.all.push({id: String(tab.id), title: tab.title || String(tab.id), rank: tab.rank, tab});
    }
    this.all.push({id: 'trace', title: 'Trace', build: () => this.aboutTrace()});
    $('tabs').onscroll = () => this.fade();
    $('tabs').addEventListener('wheel', event => { $('tabs').scrollLeft += event.deltaY; }, {passive: true});
    new ResizeObserver(() => this.fade()).observe($('tabs'));
    timeline.on('select', () => { if (timeline.selection) this.open(0); });
    this.showRank();
    this.open(this.tabs.length > 2 ? 1 : 0);
  }

  /** Another rank, the same subject. */
  showRank() {
    const before = this.tabs && this.tabs[this.current].id, rank = this.t.mainRank.index;
    this.tabs = this.all.filter(tab => tab.rank === undefined || tab.rank === rank);
    this.buttons = this.tabs.map((tab, i) => h('button', {role: 'tab', onclick: () => this.open(i)}, shown(tab.title, 60)));
    $('tabs').replaceChildren(...this.buttons);
    this.current = -1;
    if (before) this.open(Math.max(0, this.tabs.findIndex(tab => tab.id === before)));
  }

  /** The end of the strip fades where tabs lie beyond it. */
  fade() {
    const strip = $('tabs');
    strip.classList.toggle('more', strip.scrollLeft + strip.clientWidth < strip.scrollWidth - 4);
  }

  step(direction) { this.open((this.current + direction + this.tabs.length) % this.tabs.length); }

  open(i) {
    if (this.current === i) return;
    this.current = i;
    this.buttons.forEach((button, k) => {
      button.setAttribute('aria-selected', String(k === i));
      button.tabIndex = k === i ? 0 : -1;
    });
    this.buttons[i].scrollIntoView({block: 'nearest', inline: 'nearest'});
    this.fade();
    const tab = this.tabs[i];
    tab.element ??= tab.build ? tab.build() : this.build(tab.tab);
    $('body').replaceChildren(tab.element);
    $('body').scrollTop = 0;
  }

  build(tab) {
    const rank = this.t.model.ranks[tab.rank ?? 0] || this.t.mainRank;
    const {ranks} = this.t.model;
    const zoom = (start, end) => {
      if (tab.rank === undefined && this.t.shownRanks.length < ranks.length) this.t.showRanks(ranks);
      const interval = {start: start * 1000 + rank.offset, end: end * 1000 + rank.offset};
      this.t.highlights = [interval];
      this.t.showWithMargin(interval.start, interval.end);
    };
    const showRank = row => this.t.showRanks([ranks.find(r => r.label === `rank ${row[0]}`) || this.t.mainRank]);
    const actions = {interval: zoom, rank: tab.id === 'ranks' ? showRank : null, find: name => this.t.findName(name), color: (columns, row) => this.colorOf(columns, row)};
    return h('div.tab', noteList(tab.notes),
      tab.parts.map(part => part.cells ? heatMap(part, zoom) : new Table(part, actions).element));
  }

  /** The timeline's colour of what a row is about: its class or role, else the phase of its region. */
  colorOf(columns, row) {
    const {theme} = this.t;
    for (const [i, {key}] of columns.entries()) {
      const value = row[i];
      if (typeof value !== 'string') continue;
      if (key === 'role' && ROLE.includes(value)) return theme.classes[value === 'barrier' ? 3 : 1];
      if ((key === 'class' || key === 'role') && CLASS.includes(value)) return theme.classes[CLASS.indexOf(value)];
      if (i === 0 && (key === 'region' || key === 'phase' || key === 'name') && phaseOf(value) < 3) {
        return theme.phases[2 * phaseOf(value)];
      }
    }
    return null;
  }

  aboutTrace() {
    const rows = this.t.model.ranks.map(r => [r.label, r.info.path, r.info.device, r.info.events, r.info.gpu_events,
        r.info.merged_events, r.info.window]);
    const columns = ['Rank', 'File', 'GPU', 'Events', 'GPU events', 'Merged', 'Window'].map(title => ({title, key: title}));
    return h('div.tab', noteList(this.mergedNotes()), new Table({title: 'Traces in this report', columns, rows}).element,
      noteList([`Drawn by ${this.t.drawer.name}`, 'Keys: press ?']));
  }

  mergedNotes() {
    return this.t.model.ranks.filter(r => r.info.merged_events > 0).map(r =>
      `${r.label}: ${plainNumber(r.info.merged_events)} of its ${plainNumber(r.info.events)} events are host events ` +
      `shorter than ${time(r.info.merge_below_us * 1000)} that are merged with their neighbours to keep this file small; ` +
      'counts still include them. GPU events are all here, one by one.');
  }
}

/** Names of regions as chips: a click or the key 1-9 goes to the next one of that name. */
class Legend {
  constructor(timeline) {
    this.t = timeline;
    this.paint();
  }

  paint() {
    const t = this.t, rank = t.mainRank, {regions} = rank, names = [];
    for (const n of regions.name) if (!names.includes(n) && names.length < 9) names.push(n);
    this.names = names;
    const track = rank.tracks.find(x => x.kind === 'regions');
    const barsOf = lane => Array.from({length: lane.n}, (_, i) => ({rank, lane, i, id: lane.firstId + i}));
    this.bars = track ? track.lanes.flatMap(barsOf).sort((x, y) => x.lane.start[x.i] - y.lane.start[y.i]) : [];
    const swatch = (color, text) => h('span.key', h('i', {style: {background: color}}), text);
    const {theme} = t;
    const byClass = [swatch(theme.classes[0], 'compute'), swatch(theme.classes[1], 'communication'),
      swatch(theme.classes[3], 'barrier'), swatch(theme.classes[2], 'memory')];
    const byPhase = [swatch(theme.phases[0], 'forward'), swatch(theme.phases[2], 'backward'),
      swatch(theme.phases[4], 'weight gradient'), h('span.key.pale', 'faded: communication')];
    const keys = t.mode === 'name' ? [h('span.key', 'colour by name')] : t.mode === 'phase' ? byPhase : byClass;
    const chips = names.map((n, k) => h('button.phase', {onclick: () => this.go(k), title: `Next ${this.text(n, 80)}`},
      h('kbd', String(k + 1)), this.text(n, 40)));
    const merged = t.shownRanks.reduce((sum, r) => sum + r.info.merged_events, 0);
    const note = `${plainNumber(merged)} short host events are merged`;
    $('legend').replaceChildren(h('div.keys', keys, swatch(theme.exposed, 'exposed')), h('div.phases', chips),
      merged === 0 ? '' : h('span.merged', {title: 'See the tab Trace'}, note));
  }

  text(n, max) { return shown(this.t.model.name(n), max); }

  go(k) {
    const {t} = this, name = this.names[k];
    if (name === undefined) return;
    const own = this.bars.filter(b => b.rank.regions.name[b.lane.region[b.i]] === name);
    if (!own.length) return;
    const s = t.selection, from = s && s.lane.flags & REGIONS && own.some(b => b.id === s.id) ? s.lane.start[s.i] : -Infinity;
    const next = own.find(b => b.lane.start[b.i] > from) || own[0];
    t.select(next);
    t.showWithMargin(next.lane.start[next.i] + next.rank.offset, next.lane.end[next.i] + next.rank.offset);
  }
}

const KEYS = [
  ['W  S', 'zoom in, out at the pointer'], ['A  D', 'pan'], ['F', 'fit the whole trace'],
  ['/', 'search; Enter and Shift Enter go through hits'], ['N', 'next hit'],
  ['[  ]', 'previous, next tab'], ['R', 'next rank, or all of them'],
  ['B', 'show or hide the findings'],
  ['M', 'measure the selection, or the view'], ['1 – 9', 'next region of that name'],
  ['← →', 'neighbour of the selected bar'], ['Enter', 'zoom to the selection'],
  ['Esc', 'clear search, measure, finding, selection'], ['Drag', 'measure a window'], ['Shift drag', 'pan'],
  ['Wheel', 'zoom; sideways pans; Alt scrolls rows'], ['Double click', 'zoom to a bar'],
];

function showHelp() {
  const lines = KEYS.flatMap(([k, what]) => [h('dt', k.split('  ').map(part => h('kbd', part))), h('dd', what)]);
  $('keys').replaceChildren(h('h2', 'Keys'), h('dl', lines), h('button', {onclick: () => $('keys').close()}, 'Close'));
  $('keys').showModal();
}
