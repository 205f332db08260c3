'use strict';
// The timeline's state and its frames. Everything that changes what is seen goes through here and asks
// for one redraw; a frame collects rectangles, draws them, then the marks.

const SPAN_MIN_NS = 20;
const RANKS_AT_FIRST = 8;  // of more, one is shown until all are asked for

class Timeline {
  /** backend: "canvas2d" or "webgl2" to insist on one, otherwise what is fast here. */
  constructor(model, theme, backend) {
    this.model = model;
    this.theme = theme;
    this.mode = model.hasPhases ? 'phase' : 'class';
    this.folded = new Map();
    this.rows = [];
    this.rowsHeight = 0;
    this.shownRanks = model.ranks.length <= RANKS_AT_FIRST ? model.ranks : [model.ranks[0]];
    this.extent = model.extent(this.shownRanks);
    this.view = {...this.extent, width: 1, height: 1, dpr: 1, scroll: 0};
    this.scene = new Scene();
    this.selection = this.hover = this.measured = this.matches = this.pointer = null;
    this.highlights = [];
    this.listeners = {select: [], view: [], move: [], rank: [], measure: []};
    this.frames = {count: 0, last: 0, times: []};
    this.box = $('view');
    this.gutter = $('gutter').firstElementChild;
    this.scrollbar = $('scroll');
    this.marks = new Marks(this.box.querySelector('.marks'));
    this.makeDrawer(backend);
    this.overview = new Overview(this);
    this.scrollbar.addEventListener('scroll', () => this.scrollTo(this.scrollbar.scrollTop));
    this.layout();
    new ResizeObserver(() => this.resize()).observe($('timeline'));
  }

  on(what, listener) { this.listeners[what].push(listener); }
  emit(what) { for (const listener of this.listeners[what]) listener(); }
  get mainRank() { return this.shownRanks[0]; }
  /** Where the time 0 of the axis is: it shows the main rank's own clock, as the tables do. */
  get origin() { return this.mainRank.offset; }

  makeDrawer(backend) {
    let canvas = this.box.querySelector('.bars');
    this.drawer = null;
    if (backend !== 'canvas2d') {
      try {
        this.drawer = WebglDrawer.create(canvas, backend === 'webgl2', () => this.makeDrawer('canvas2d'));
      } catch (error) {
        console.info('WebGL2 is not usable here, drawing with a 2D canvas:', error);
      }
    }
    if (!this.drawer) {
      // A canvas that had one kind of context gives no other; take a fresh one.
      const fresh = canvas.cloneNode();
      canvas.replaceWith(fresh);
      canvas = fresh;
      this.drawer = new CanvasDrawer(canvas);
    }
    this.canvas = canvas;
    this.resize();
  }

  // --- layout ---

  layout() {
    const {rows, height} = makeRows(this.shownRanks, this.folded, this.view.height / this.view.dpr);
    this.rows = rows;
    this.rowsHeight = height;
    this.scrollbar.firstElementChild.style.height = `${height + RULER}px`;
    this.gutter.replaceChildren(...rows.map(row => this.gutterRow(row)));
    this.scrollTo(this.view.scroll);
  }

  gutterRow(row) {
    const fold = row.foldable && h('button.fold',
        {title: row.folded ? 'Unfold' : 'Fold', 'aria-expanded': String(!row.folded),
      onclick: () => { this.folded.set(row.key, !row.folded); this.layout(); }}, row.folded ? '▸' : '▾');
    const role = row.track && row.track.role;
    return h(`div.row.${row.kind}`, {style: {top: `${row.y}px`, height: `${row.height}px`,
        '--line': `${clamp(row.laneHeight || row.height, 13, 20)}px`},
        title: `${row.label} · ${row.sub || ''}`},
      fold, role && h(`i.dot.${role}`), h('span.label', row.label), row.sub && row.height < 200 && h('span.sub', row.sub));
  }

  resize() {
    const dpr = devicePixelRatio || 1, box = this.box;
    if (!box || !this.canvas || !box.clientWidth) return;
    const {view} = this, height = Math.max(1, box.clientHeight - RULER);
    view.dpr = dpr;
    view.width = Math.max(1, Math.round(box.clientWidth * dpr));
    view.height = Math.max(1, Math.round(height * dpr));
    this.canvas.width = view.width;
    this.canvas.height = view.height;
    this.marks.canvas.width = view.width;
    this.marks.canvas.height = Math.round(box.clientHeight * dpr);
    if (this.overview) {
      this.overview.paint();
      this.layout();  // rows grow with the room there is
    }
    this.draw();  // at once: a canvas that changed its size is blank
  }

  scrollTo(y) {
    const most = Math.max(0, this.rowsHeight - this.view.height / this.view.dpr);
    this.view.scroll = clamp(y, 0, most);
    if (Math.abs(this.scrollbar.scrollTop - this.view.scroll) > 1) this.scrollbar.scrollTop = this.view.scroll;
    this.gutter.style.transform = `translateY(${-this.view.scroll}px)`;
    this.redraw();
  }

  // --- frames ---

  redraw() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.draw();
    });
  }

  draw() {
    const before = performance.now();
    this.advance(before);
    const {view} = this;
    const quads = this.scene.collect(this);
    this.drawer.draw(quads, view.width, view.height, view.dpr);
    this.marks.draw(this);
    if (this.overview) this.overview.move();
    this.emit('view');
    const took = performance.now() - before;
    this.frames.last = took;
    this.frames.quads = quads.n;
    this.frames.times[this.frames.count++ % 600] = took;
  }

  // --- time ---

  timeAt(x) { return this.view.start + x / (this.view.width / this.view.dpr) * (this.view.end - this.view.start); }

  bounded(start, end) {
    const {extent} = this, margin = 0.02 * (extent.end - extent.start), low = extent.start - margin;
    const length = clamp(end - start, SPAN_MIN_NS, extent.end + margin - low);
    start = clamp((start + end - length) / 2, low, Math.max(low, extent.end + margin - length));
    return [start, start + length];
  }

  /** Shows [start, end), gliding there unless told not to. */
  show(start, end, glide = true) {
    [start, end] = this.bounded(start, end);
    const {view} = this;
    this.glide = null;
    this.hover = null;
    this.emit('move');
    if (glide && !matchMedia('(prefers-reduced-motion: reduce)').matches) {
      this.glide = {from: [view.start, view.end], to: [start, end], begin: performance.now(), length: 220};
    } else {
      view.start = start;
      view.end = end;
    }
    this.redraw();
  }

  /** Widths are interpolated geometrically: zooming by 1000 feels even. */
  advance(now) {
    const g = this.glide;
    if (!g) return;
    const s = clamp((now - g.begin) / g.length, 0, 1), ease = 1 - (1 - s) ** 3;
    const w0 = g.from[1] - g.from[0], w1 = g.to[1] - g.to[0], w = w0 * (w1 / w0) ** ease;
    const part = Math.abs(w1 - w0) > 1e-6 * w0 ? (w - w0) / (w1 - w0) : ease;
    this.view.start = g.from[0] + (g.to[0] - g.from[0]) * part;
    this.view.end = this.view.start + w;
    if (s >= 1) {
      [this.view.start, this.view.end] = g.to;
      this.glide = null;
    } else {
      this.redraw();
    }
  }

  zoom(factor, x) {
    const at = this.timeAt(x), {start, end} = this.view;
    this.show(at - (at - start) * factor, at + (end - at) * factor, false);
  }

  pan(fraction) {
    const {start, end} = this.view, by = fraction * (end - start);
    this.show(start + by, end + by, false);
  }

  fit() { this.show(this.extent.start, this.extent.end); }

  showWithMargin(start, end) {
    const margin = Math.max((end - start) * 0.35, 200);
    this.show(start - margin, end + margin);
  }

  /** Parts of the view that the analyses' window leaves out, in page time. */
  outside() {
    const {info, offset} = this.mainRank, parts = [];
    if (info.window_start_us !== undefined) parts.push([this.view.start, info.window_start_us * 1000 + offset]);
    if (info.window_end_us !== undefined) parts.push([info.window_end_us * 1000 + offset, this.view.end]);
    return parts.filter(([a, b]) => b > a);
  }

  // --- selection ---

  select(bar, zoom = false) {
    this.selection = bar;
    if (bar) {
      const start = bar.lane.start[bar.i] + bar.rank.offset, end = bar.lane.end[bar.i] + bar.rank.offset;
      if (!this.shownRanks.includes(bar.rank)) this.showRanks([bar.rank]);
      this.reveal(bar);
      const {view} = this, span = view.end - view.start, length = end - start;
      if (zoom && (start < view.start || end > view.end || length < span / 400 || length > span)) {
        const wide = Math.max(length * 8, 2000);
        this.show((start + end - wide) / 2, (start + end + wide) / 2);
      }
    }
    this.emit('select');
    this.redraw();
  }

  /** Unfolds and scrolls so that a bar's lane is in view. */
  reveal(bar) {
    let place = placeOf(this.rows, bar);
    if (!place) {
      this.folded.set(`rank${bar.rank.index}`, false);
      this.folded.set(`${bar.rank.index}:${bar.rank.tracks.indexOf(bar.lane.track)}`, false);
      this.layout();
      place = placeOf(this.rows, bar);
    }
    if (!place && this.shownRanks.length > 1) {
      this.showRanks([bar.rank]);  // with several, only what happens on the GPUs has rows
      place = placeOf(this.rows, bar);
    }
    if (!place) return;
    const height = this.view.height / this.view.dpr, y = place.y - this.view.scroll;
    if (y < 0 || y + place.height > height) this.scrollTo(place.y - height / 2);
  }

  showRanks(ranks) {
    const {view, extent: before} = this;
    const all = view.start <= before.start && view.end >= before.end;
    this.shownRanks = ranks;
    const {start, end} = this.extent = this.model.extent(ranks);
    if (all || view.end <= start || view.start >= end) this.show(start, end, false);
    this.layout();
    this.overview.paint();
    this.emit('rank');
    this.emit('measure');
    this.redraw();
  }

  /** Pairs of bars to join with an arrow: what the selected bar launched, or what launched it. */
  links() {
    const {selection: s, model} = this;
    if (this.linksOf === s) return this.linkCache;
    this.linksOf = s;
    this.linkCache = [];
    if (s.lane.flags & GPU) {
      if (s.lane.launch[s.i]) this.linkCache.push([model.bar(s.rank, s.lane.launch[s.i] - 1), s]);
    } else if (!(s.lane.flags & REGIONS)) {
      for (const id of model.launchedBy(s.rank, s.id).slice(0, 200)) this.linkCache.push([s, model.bar(s.rank, id)]);
    }
    return this.linkCache;
  }

  /** The next or previous bar of the selected one's lane. */
  selectNext(direction) {
    const s = this.selection;
    if (!s) return;
    const i = s.i + direction;
    if (i >= 0 && i < s.lane.n) this.select({...s, i, id: s.lane.firstId + i}, true);
  }

  setMeasure(start, end) {
    this.measured = start === null ? null : {start: Math.min(start, end), end: Math.max(start, end)};
    this.emit('measure');
    this.redraw();
  }

  barLabel(lane, i) {
    if (lane.flags & REGIONS) {
      const {regions} = lane.track.rank, r = lane.region[i];
      return `${this.label(regions.name[r])} #${regions.index[r]}`;
    }
    const count = lane.count ? lane.count[i] : 1;
    return this.label(lane.name[i]) + (count > 1 ? ` +${count - 1}` : '');
  }

  label(n) {
    this.labels ??= new Array(this.model.nameCount);
    return this.labels[n] ??= this.model.shortName(n);
  }
}
