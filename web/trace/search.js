'use strict';
// Search over names: what matches, how often, and going from one hit to the next in order of time.

class Search {
  constructor(timeline) {
    this.t = timeline;
    this.input = $('search');
    this.count = $('hits');
    this.input.addEventListener('input', () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.run(), 60);
    });
    this.input.addEventListener('keydown', event => {
      if (event.key === 'Enter') this.step(event.shiftKey ? -1 : 1);
      else if (event.key === 'Escape') this.clear();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  clear() {
    this.input.value = '';
    this.run();
    $('timeline').focus();
  }

  /** Text, or a regular expression between slashes. */
  matcher(text) {
    const regex = text.match(/^\/(.+)\/$/);
    if (regex) {
      try {
        const pattern = new RegExp(regex[1], 'i');
        return name => pattern.test(name.slice(0, 10000));
      } catch {
        return null;
      }
    }
    const wanted = text.toLowerCase();
    return name => name.toLowerCase().includes(wanted);
  }

  run() {
    clearTimeout(this.timer);
    this.timer = null;
    const {model} = this.t, text = this.input.value.trim(), test = text ? this.matcher(text) : null;
    this.hits = null;
    this.at = -1;
    this.t.matches = null;
    this.count.textContent = text && !test ? 'bad pattern' : '';
    if (test) {
      const matches = new Uint8Array(model.nameCount);
      for (let i = 0; i < matches.length; ++i) if (test(model.name(i))) matches[i] = 1;
      this.t.matches = matches;
      this.tally(matches);
      this.label();
    }
    this.input.parentElement.classList.toggle('active', text !== '');
    this.t.redraw();
  }

  /** How many bars match, and events inside of merged ones. */
  tally(matches) {
    this.total = this.merged = 0;
    for (const rank of this.t.shownRanks) {
      const bars = this.t.model.barsByName(rank), {name, count} = rank.merged;
      for (let n = 0; n < matches.length; ++n) if (matches[n]) this.total += bars[n];
      for (let i = 0; i < name.length; ++i) if (matches[name[i]]) this.merged += count[i];
    }
  }

  /** All bars that match, by start; as (rank, id) pairs. Only when somebody goes to one: sorting a million
      takes half a second. */
  collect() {
    const {matches} = this.t, n = this.total, rank = new Uint32Array(n), id = new Uint32Array(n), start = new Float64Array(n);
    let at = 0;
    for (const r of this.t.shownRanks) {
      for (const lane of r.lanes) {
        for (let i = 0; i < lane.n; ++i) {
          if (!matches[lane.name[i]]) continue;
          rank[at] = r.index;
          id[at] = lane.firstId + i;
          start[at++] = lane.start[i] + r.offset;
        }
      }
    }
    const order = new Uint32Array(n).map((_, i) => i);
    order.sort((a, b) => start[a] - start[b] || a - b);
    this.hits = {rank, id, start, order};
  }

  label() {
    const n = this.total, more = this.merged ? ` + ${plainNumber(this.merged)} merged` : '';
    this.count.textContent = this.at < 0 ? `${plainNumber(n)}${more}`
        : `${plainNumber(this.at + 1)} of ${plainNumber(n)}${more}`;
    this.count.title = more ? 'Merged events are shorter than this report keeps one by one on host threads' : '';
  }

  /** Selects the next hit; the first time, the one nearest after the left edge of the view. */
  step(direction) {
    if (this.timer) this.run();
    if (!this.t.matches || this.total === 0) return;
    if (!this.hits) this.collect();
    const {hits, total} = this;
    if (this.at < 0) {
      const from = hits.order.findIndex(k => hits.start[k] >= this.t.view.start);
      this.at = direction > 0 ? Math.max(0, from) : (from > 0 ? from : total) - 1;
    } else {
      this.at = (this.at + direction + total) % total;
    }
    const k = hits.order[this.at], rank = this.t.model.ranks[hits.rank[k]];
    this.label();
    this.t.select(this.t.model.bar(rank, hits.id[k]), true);
  }
}
