'use strict';
// Pointer, wheel and keys of the timeline.

const DRAG_PIXELS = 4;

class Input {
  constructor(timeline, actions) {
    this.t = timeline;
    this.actions = actions;  // {search, help, escape, next, phase, tab, rank, tip}
    this.held = new Set();
    const view = $('view'), gutter = $('gutter');
    view.addEventListener('pointerdown', e => this.down(e));
    view.addEventListener('pointermove', e => this.move(e));
    view.addEventListener('pointerup', e => this.up(e));
    view.addEventListener('pointercancel', () => { this.drag = null; });
    view.addEventListener('pointerleave', () => this.leave());
    view.addEventListener('dblclick', e => this.double(e));
    view.addEventListener('wheel', e => this.wheel(e), {passive: false});
    gutter.addEventListener('wheel', e => {
      e.preventDefault();
      this.t.scrollTo(this.t.view.scroll + e.deltaY);
    }, {passive: false});
    document.addEventListener('keydown', e => this.keyDown(e));
    document.addEventListener('keyup', e => this.held.delete(e.key.toLowerCase()));
    window.addEventListener('blur', () => this.held.clear());
  }

  position(event) {
    const box = this.t.box.getBoundingClientRect();
    return {x: event.clientX - box.left, y: event.clientY - box.top};
  }

  /** The bar at a position in the view, or null. */
  barAt({x, y}) {
    const t = this.t, place = laneAt(t.rows, y - RULER + t.view.scroll);
    if (y < RULER || !place || !place.lane) return null;
    const perPixel = (t.view.end - t.view.start) / (t.view.width / t.view.dpr);
    const i = hit(place.lane, t.timeAt(x) - place.row.rank.offset, 3 * perPixel);
    return i < 0 ? null : {rank: place.row.rank, lane: place.lane, i, id: place.lane.firstId + i};
  }

  down(event) {
    $('timeline').focus({preventScroll: true});
    if (event.button > 1) return;
    const p = this.position(event);
    const panning = event.button === 1 || event.shiftKey;
    this.drag = {from: p, time: this.t.timeAt(p.x), view: {...this.t.view}, panning, moved: false};
    this.t.box.setPointerCapture(event.pointerId);
    event.preventDefault();
  }

  move(event) {
    const p = this.position(event), t = this.t, d = this.drag;
    t.pointer = p.x;
    if (!d) {
      const bar = this.barAt(p);
      if (bar?.id !== t.hover?.id || bar?.rank !== t.hover?.rank) t.hover = bar;
      this.actions.tip(bar, event);
      t.redraw();
      return;
    }
    if (!d.moved && Math.hypot(p.x - d.from.x, p.y - d.from.y) < DRAG_PIXELS) return;
    d.moved = true;
    t.hover = null;
    this.actions.tip(null);
    if (d.panning) {
      const by = d.time - (d.view.start + p.x / (d.view.width / d.view.dpr) * (d.view.end - d.view.start));
      t.show(d.view.start + by, d.view.end + by, false);
      t.scrollTo(d.view.scroll + d.from.y - p.y);
    } else {
      t.setMeasure(d.time, t.timeAt(clamp(p.x, 0, t.view.width / t.view.dpr)));
    }
  }

  up(event) {
    const d = this.drag;
    this.drag = null;
    if (!d || d.moved || event.button !== 0) return;
    if (this.t.measured) this.t.setMeasure(null);
    this.t.select(this.barAt(this.position(event)));
  }

  leave() {
    if (this.drag) return;
    this.t.pointer = this.t.hover = null;
    this.actions.tip(null);
    this.t.redraw();
  }

  double(event) {
    const bar = this.barAt(this.position(event));
    if (bar) this.zoomTo(bar);
  }

  zoomTo({rank, lane, i}) {
    this.t.showWithMargin(lane.start[i] + rank.offset, lane.end[i] + rank.offset);
  }

  /** Up and down zooms at the pointer, sideways pans, Alt scrolls the rows. Pinching a touchpad arrives as
      a wheel with Ctrl and smaller steps. */
  wheel(event) {
    event.preventDefault();
    const t = this.t, unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    const dx = event.deltaX * unit, dy = event.deltaY * unit;
    if (event.altKey) t.scrollTo(t.view.scroll + dy);
    else if (event.shiftKey) t.pan((dx || dy) / (t.view.width / t.view.dpr));
    else if (!event.ctrlKey && Math.abs(dx) > Math.abs(dy)) t.pan(dx / (t.view.width / t.view.dpr));
    else t.zoom(Math.exp(clamp(dy, -300, 300) * (event.ctrlKey ? 0.01 : 0.0022)), this.position(event).x);
  }

  keyDown(event) {
    const inField = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === 'Escape') return this.actions.escape();
    if (inField || event.ctrlKey || event.metaKey || event.altKey || $('keys').open) return;
    const key = event.key.toLowerCase();
    const t = this.t;
    const handlers = {
      '/': () => this.actions.search(),
      '?': () => this.actions.help(),
      'f': () => t.fit(),
      'm': () => this.mark(),
      '[': () => this.actions.tab(-1),
      ']': () => this.actions.tab(1),
      'b': () => document.body.classList.toggle('bare'),
      'r': () => this.actions.rank(event.shiftKey ? -1 : 1),
      'n': () => this.actions.next(event.shiftKey ? -1 : 1),
      'enter': () => t.selection && event.target === $('timeline') && this.zoomTo(t.selection),
      'arrowleft': () => event.target === $('timeline') && t.selectNext(-1),
      'arrowright': () => event.target === $('timeline') && t.selectNext(1),
    };
    if ('wasd'.includes(key) && key.length === 1) this.hold(key);
    else if (/^[1-9]$/.test(key)) this.actions.phase(Number(key) - 1);
    else if (handlers[key]) handlers[key]();
    else return;
    if (key !== 'enter') event.preventDefault();
  }

  /** Measures the selected bar, or what is in view. */
  mark() {
    const t = this.t, s = t.selection;
    if (s) t.setMeasure(s.lane.start[s.i] + s.rank.offset, s.lane.end[s.i] + s.rank.offset);
    else t.setMeasure(t.view.start, t.view.end);
  }

  /** Moves as long as the key is down, at a speed that does not depend on the frame rate. */
  hold(key) {
    if (this.held.has(key)) return;
    this.held.add(key);
    if (this.running) return;
    this.running = true;
    let last = performance.now() - 16;
    const step = now => {
      const seconds = Math.min(0.1, (now - last) / 1000), t = this.t;
      last = now;
      const x = t.pointer ?? t.view.width / t.view.dpr / 2;
      if (this.held.has('w')) t.zoom(Math.exp(-3.2 * seconds), x);
      if (this.held.has('s')) t.zoom(Math.exp(3.2 * seconds), x);
      if (this.held.has('a')) t.pan(-0.9 * seconds);
      if (this.held.has('d')) t.pan(0.9 * seconds);
      this.running = this.held.size > 0;
      if (this.running) requestAnimationFrame(step);
    };
    step(performance.now());
  }
}
