'use strict';
// The selected bar: what it is, how it was launched, and where it stands among its twins.

function positionOf(sorted, value) {
  return upperBound(sorted, value) / sorted.length;
}

/** Where a duration lies between the shortest and the longest of its name, with the median. */
function twinsChart(durations, own) {
  const n = durations.length, low = durations[0], high = durations[n - 1], median = durations[(n - 1) >> 1];
  const bins = new Array(48).fill(0), range = high - low || 1;
  for (const d of durations) ++bins[Math.min(47, Math.floor((d - low) / range * 48))];
  const most = Math.max(...bins), at = d => `${(100 * (d - low) / range).toFixed(2)}%`;
  return h('div.twins',
    h('div.bins', bins.map(b => h('i', {style: {height: `${b ? Math.max(6, 100 * Math.sqrt(b / most)) : 0}%`}})),
      h('b.median', {style: {left: at(median)}, title: `median ${time(median)}`}), h('b.own', {style: {left: at(own)}})),
    h('div.ends', h('span', time(low)), h('span', `median ${time(median)}`), h('span', time(high))));
}

class Detail {
  constructor(timeline) {
    this.t = timeline;
    this.element = h('div.detail');
    timeline.on('select', () => this.paint());
    this.paint();
  }

  paint() {
    const {selection: bar, model} = this.t;
    if (!bar) {
      this.element.replaceChildren(h('p.hint', 'Click a bar to see what it is. Drag to measure. ', h('kbd', '?'),
          ' lists the keys.'));
      return;
    }
    const {lane, i, rank} = bar, name = model.name(lane.name[i]);
    const merged = lane.count && lane.count[i] > 1;
    const title = lane.flags & REGIONS ? this.t.barLabel(lane, i)
      : merged ? `${lane.count[i]} merged events, the longest of them ${this.t.label(lane.name[i])}` : this.t.label(lane.name[i]);
    this.element.replaceChildren(
      h('header', h('i.swatch', {style: {background: this.t.theme.css[model.colors(lane, this.t.mode)[i]]}}), h('h2', title),
        h('div.actions', this.button('Zoom', () => this.t.showWithMargin(lane.start[i] + rank.offset,
            lane.end[i] + rank.offset)),
          this.button('Measure', () => this.t.setMeasure(lane.start[i] + rank.offset, lane.end[i] + rank.offset)),
          this.button('Find all', () => this.t.findName(name)),
          h('button', {onclick: e => copyText(name, e.target)}, 'Copy name'))),
      h('div.columns', h('dl', this.facts(bar)), this.twins(bar), h('div.full', h('h4', 'Name'), h('code', shown(name)))));
  }

  button(label, onclick) { return h('button', {onclick}, label); }

  facts(bar) {
    const {lane, i, rank} = bar, {model} = this.t, length = lane.end[i] - lane.start[i], track = lane.track;
    const lines = [
      ['Duration', `${time(length)}`, exactUs(length)],
      ['Start', exactUs(lane.start[i])],
      ['On', this.where(bar)],
    ];
    if (lane.flags & GPU) {
      const kind = lane.kind[i] & 3, role = ROLE[lane.kind[i] >> 2 & 3];
      lines.push(['Class', lane.kind[i] & 16 ? 'outside of the window' : CLASS[kind] + (role ? ` · ${role}` : '')]);
      lines.push(...this.launchFacts(bar));
    } else if (lane.flags & REGIONS) {
      const r = lane.region[i], {regions} = rank;
      lines.push(['Host', `${exactUs(regions.start[r])} for ${time(regions.end[r] - regions.start[r])}`]);
    } else {
      lines.push(['Category', CATEGORY[lane.category[i]] ?? 'other']);
      const launched = model.launchedBy(rank, bar.id);
      if (launched.length) lines.push(['Launches', this.links(rank, launched)]);
    }
    if (lane.count && lane.count[i] > 1) lines.push(['Merged', `${lane.count[i]} events, ${time(lane.covered[i])} covered`]);
    if (track.rank.info.label && model.ranks.length > 1) lines.push(['Rank', rank.label]);
    return lines.map(([key, value, note]) =>
      h('div.fact', h('dt', key), h('dd', value, note && note !== value && h('em', note))));
  }

  where({lane}) {
    const {track} = lane;
    if (track.kind === 'regions') return 'GPU time of a region';
    if (track.kind === 'gpu') return `stream ${track.stream} · device ${track.device}`;
    return [track.label, track.process].filter(Boolean).map(t => shown(t, 80)).join(' · ');
  }

  launchFacts({rank, lane, i}) {
    const lines = [], category = lane.category[i], d = lane.detail[i] - 1;
    if (d >= 0 && category === 4) {
      const [gx, gy, gz, bx, by, bz, registers, shared] = rank.launches.map(column => column[d]);
      lines.push(['Grid', `${gx} × ${gy} × ${gz}`, `${plainNumber(gx * gy * gz)} blocks`],
        ['Block', `${bx} × ${by} × ${bz}`, `${plainNumber(bx * by * bz)} threads`],
        ['Registers', `${registers} per thread`], ['Shared', bytes(shared), 'per block']);
    } else if (d >= 0) {
      lines.push(['Bytes', bytes(rank.copies[0][d])]);
      if (rank.copies[1][d]) lines.push(['Bandwidth', `${plainNumber(rank.copies[1][d] / 1000)} GB/s`]);
    }
    if (lane.launch[i]) {
      const wait = lane.delay[i] - lane.launchDuration[i];
      lines.push(['Launched', this.link(rank, lane.launch[i] - 1, `${time(lane.delay[i])} before`),
          `${time(Math.max(0, wait))} in the queue`]);
    } else {
      lines.push(['Launched', 'by no call of this trace']);
    }
    const region = lane.region[i];
    if (region) lines.push(['Region',
        `${shown(this.t.model.name(rank.regions.name[region - 1]), 80)} #${rank.regions.index[region - 1]}`]);
    return lines;
  }

  link(rank, id, text) {
    return h('button.link', {onclick: () => this.t.select(this.t.model.bar(rank, id), true)}, text);
  }

  links(rank, ids) {
    const links = ids.slice(0, 5).map(id => {
      const {lane, i} = this.t.model.bar(rank, id);
      return this.link(rank, id, this.t.label(lane.name[i]));
    });
    return h('span', links, ids.length > 5 && ` and ${ids.length - 5} more`);
  }

  twins({rank, lane, i}) {
    if (lane.count && lane.count[i] > 1) return null;
    const own = lane.end[i] - lane.start[i], durations = this.t.model.twins(rank, lane, lane.name[i]);
    if (durations.length < 2) return h('div.twinbox', h('h4', 'Twins'), h('p.hint', 'The only one of its name.'));
    const median = durations[(durations.length - 1) >> 1];
    const ratio = median > 0
        ? `${significant(own / median)}× the median, longer than ${percent(positionOf(durations, own - 1e-6), 1, 0)}` : '';
    return h('div.twinbox', h('h4', `${plainNumber(durations.length)} of this name`), twinsChart(durations, own),
      h('p.hint', ratio));
  }
}
