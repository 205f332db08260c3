'use strict';
// What lies over the bars, on a 2D canvas: time axis, labels, charts, selection, arrows, measure.

const TICK_PIXELS = 110;  // between lines of the axis, at least
const RULER = 24;  // CSS pixels above the rows
const FONT = '11px Inter, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
const LABEL_WIDTH_MIN = 40, LABEL_LETTERS_MIN = 6;

/** A round step so that ticks are at least `pixels` apart. */
function tickStep(nsPerPixel, pixels) {
  const least = nsPerPixel * pixels, power = 10 ** Math.floor(Math.log10(Math.max(1, least)));
  for (const f of [1, 2, 5, 10]) if (f * power >= least) return Math.max(1, f * power);
  return 10 * power;
}

/** A tick's time in one unit for the whole axis: "12.35 ms". */
function tickLabel(ns, step) {
  const [unit, name] = step >= 1e8 ? [1e9, 's'] : step >= 1e5 ? [1e6, 'ms'] : step >= 100 ? [1e3, 'µs'] : [1, 'ns'];
  const digits = Math.max(0, Math.ceil(-Math.log10(step / unit) - 1e-9));
  return (ns / unit + 0).toLocaleString('en-US', {minimumFractionDigits: digits, maximumFractionDigits: digits}) + ' ' + name;
}

class Marks {
  constructor(canvas) {
    this.canvas = canvas;
    this.c = canvas.getContext('2d');
    this.widths = new Map();
  }

  /** t: the Timeline, whose state says all there is to draw. */
  draw(t) {
    const c = this.c, view = t.view;
    c.setTransform(view.dpr, 0, 0, view.dpr, 0, 0);
    this.w = view.width / view.dpr;
    this.h = view.height / view.dpr + RULER;
    c.clearRect(0, 0, this.w, this.h);
    c.font = FONT;
    c.direction = 'ltr';
    c.textBaseline = 'middle';
    this.grid(t);
    c.save();
    c.beginPath();
    c.rect(0, RULER, this.w, this.h - RULER);
    c.clip();
    this.lines(t);
    for (const row of t.rows) if (!row.lanes && row.kind !== 'rank') this.chart(t, row);
    this.labels(t);
    this.evidence(t);
    this.arrows(t);
    this.selected(t);
    c.restore();
    this.measure(t);
    this.cursor(t);
  }

  x(t, ns) {
    return (ns - t.view.start) / (t.view.end - t.view.start) * this.w;
  }

  grid(t) {
    const c = this.c, start = t.view.start - t.origin, end = t.view.end - t.origin;
    const step = tickStep((end - start) / this.w, TICK_PIXELS);
    c.fillStyle = t.theme.panel;
    c.fillRect(0, 0, this.w, RULER);
    c.textAlign = 'left';
    for (let i = Math.ceil(start / step) + 0, shownTicks = 0; i * step <= end && shownTicks < 200; ++i, ++shownTicks) {
      const x = Math.round(this.x(t, i * step + t.origin)) + 0.5;
      c.fillStyle = t.theme.lineStrong;
      c.fillRect(x - 0.5, RULER - 6, 1, 6);
      c.fillStyle = t.theme.muted;
      c.fillText(tickLabel(i * step, step), x + 5, RULER / 2);
    }
    c.fillStyle = t.theme.lineStrong;
    c.fillRect(0, RULER - 1, this.w, 1);
  }

  lines(t) {
    const c = this.c;
    for (const row of t.rows) {
      const y = RULER + row.y - t.view.scroll;
      if (row.kind === 'rank') {
        c.fillStyle = t.theme.shade;
        c.fillRect(0, y, this.w, row.height);
        c.fillStyle = t.theme.muted;
        c.textAlign = 'left';
        c.fillText(row.text, 8, y + row.height / 2 + 0.5);
      }
    }
    for (const [a, b] of t.outside()) {
      c.fillStyle = t.theme.shade;
      const x0 = this.x(t, a), x1 = this.x(t, b);
      c.fillRect(x0, RULER, x1 - x0, this.h);
    }
  }

  chart(t, row) {
    const y = RULER + row.y - t.view.scroll;
    if (y > this.h || y + row.height < RULER) return;
    if (row.kind === 'exposed') this.strip(t, row, y);
    else if (row.kind === 'sm') this.curve(t, row, y, row.rank.smUse, row.rank.info.sms || row.rank.smUse.peak, true);
    else this.curve(t, row, y, row.rank.queue, row.rank.queue.peak, false);
  }

  strip(t, row, y) {
    const c = this.c, set = row.rank.sets.exposed, offset = row.rank.offset, {start, end} = t.view;
    const pixel = (end - start) / this.w / t.view.dpr;
    c.fillStyle = t.theme.shade;
    c.fillRect(0, y, this.w, row.height);
    c.fillStyle = t.theme.exposed;
    for (let i = 0; i < this.w * t.view.dpr; ++i) {
      const a = start - offset + i * pixel, part = lengthIn(set, a, a + pixel) / pixel;
      if (part <= 0) continue;
      c.globalAlpha = Math.min(1, 0.1 + 0.9 * part);
      c.fillRect(i / t.view.dpr, y, 1 / t.view.dpr, row.height);
    }
    c.globalAlpha = 1;
  }

  curve(t, row, y, steps, top, filled) {
    const c = this.c, offset = row.rank.offset, {start, end} = t.view, n = Math.ceil(this.w);
    const pixel = (end - start) / this.w, base = y + row.height - 0.5;
    c.fillStyle = t.theme.line;
    c.fillRect(0, base, this.w, 1);
    c.beginPath();
    c.moveTo(0, base);
    let before = integralUntil(steps, start - offset);
    for (let i = 0; i < n; ++i) {
      const after = integralUntil(steps, start - offset + (i + 1) * pixel);
      const level = base - (after - before) / pixel / top * (row.height - 2);
      before = after;
      c.lineTo(i, level);
      c.lineTo(i + 1, level);
    }
    c.lineTo(this.w, base);
    c.globalAlpha = filled ? 0.32 : 0.12;
    c.fillStyle = filled ? t.theme.area : t.theme.queue;
    c.fill();
    c.globalAlpha = 0.9;
    c.strokeStyle = c.fillStyle;
    c.lineWidth = 1;
    c.stroke();
    c.globalAlpha = 1;
  }

  // --- labels ---

  labels(t) {
    const c = this.c, dpr = t.view.dpr;
    c.textAlign = 'left';
    for (const shape of t.scene.visible) {
      const {lane, level, y0, y1, offset, nsPerPixel, colors} = shape;
      const start = t.view.start - offset, end = t.view.end - offset;
      const least = LABEL_WIDTH_MIN * dpr * nsPerPixel, middle = RULER + (y0 + y1) / 2 / dpr + 0.5;
      const n = level ? level.n : lane.n;
      for (let i = firstVisible(lane, level, start); i < n; ++i) {
        const first = level ? level.first[i] : i;
        const s = lane.start[first];
        if (s > end) break;
        // A merged bar is narrower than a pixel, so what is wide enough for a label is one bar.
        if (lane.end[first] - s < least) continue;
        const x0 = Math.max(0, this.x(t, s + offset)), x1 = Math.min(this.w, this.x(t, lane.end[first] + offset));
        if (x1 - x0 < LABEL_WIDTH_MIN) continue;
        const dim = t.matches && !t.matches[lane.name[first]];
        c.globalAlpha = dim ? 0.35 : 1;
        c.fillStyle = dim ? t.theme.muted : t.theme.darkText[colors[first]] ? 'rgba(18,20,26,.88)' : '#fff';
        const text = this.fit(t.barLabel(lane, first), x1 - x0 - 12);
        if (text) c.fillText(text, x0 + 6, middle);
      }
    }
    c.globalAlpha = 1;
  }

  width(text) {
    let w = this.widths.get(text);
    if (w === undefined) {
      if (this.widths.size > 20000) this.widths.clear();
      w = this.c.measureText(text).width;
      this.widths.set(text, w);
    }
    return w;
  }

  fit(text, width) {
    if (this.width(text) <= width) return text;
    let low = 0, high = Math.min(text.length, Math.ceil(width / 3));
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.width(text.slice(0, middle) + '…') <= width) low = middle; else high = middle - 1;
    }
    return low >= LABEL_LETTERS_MIN ? text.slice(0, low) + '…' : '';
  }

  // --- selection ---

  box(t, bar) {
    const place = placeOf(t.rows, bar);
    if (!place) return null;
    const {lane, i, rank} = bar, x0 = this.x(t, lane.start[i] + rank.offset);
    const x1 = Math.max(x0 + 1, this.x(t, lane.end[i] + rank.offset));
    return {x0, x1, y: RULER + place.y - t.view.scroll, h: place.height};
  }

  outline(box, color, width) {
    const c = this.c, x0 = Math.max(-6, box.x0), x1 = Math.min(this.w + 6, box.x1);
    if (x1 < 0 || x0 > this.w) return;
    c.strokeStyle = color;
    c.lineWidth = width;
    c.beginPath();
    c.roundRect(x0 - width / 2, box.y - width / 2, Math.max(2, x1 - x0) + width - 1, box.h + width, 3);
    c.stroke();
  }

  selected(t) {
    if (t.hover && (!t.selection || t.hover.id !== t.selection.id)) {
      const box = this.box(t, t.hover);
      if (box) this.outline(box, t.theme.muted, 1);
    }
    if (t.selection) {
      const box = this.box(t, t.selection);
      if (box) this.outline(box, t.theme.ink, 2);
    }
  }

  arrows(t) {
    const c = this.c;
    if (!t.selection) return;
    for (const [from, to] of t.links()) {
      const a = this.box(t, from), b = this.box(t, to);
      if (!a || !b) continue;
      const x0 = clamp(a.x0, -50, this.w + 50), x1 = clamp(b.x0, -50, this.w + 50);
      const y0 = a.y + (a.y > b.y ? 0 : a.h), y1 = b.y + (a.y > b.y ? b.h : 0);
      const bend = Math.max(24, Math.abs(y1 - y0) / 2) * Math.sign(y1 - y0 || 1);
      c.strokeStyle = t.theme.accent;
      c.lineWidth = 1.5;
      c.beginPath();
      c.moveTo(x0, y0);
      c.bezierCurveTo(x0, y0 + bend, x1, y1 - bend, x1, y1);
      c.stroke();
      c.fillStyle = t.theme.accent;
      const d = Math.sign(bend);
      c.beginPath();
      c.moveTo(x1, y1);
      c.lineTo(x1 - 3.5, y1 - 6 * d);
      c.lineTo(x1 + 3.5, y1 - 6 * d);
      c.fill();
    }
  }

  evidence(t) {
    const c = this.c;
    for (const e of t.highlights) {
      const x0 = this.x(t, e.start), x1 = Math.max(x0 + 1.5, this.x(t, e.end));
      if (x1 < 0 || x0 > this.w) continue;
      c.fillStyle = t.theme.accent;
      c.globalAlpha = 0.13;
      c.fillRect(x0, RULER, x1 - x0, this.h);
      c.globalAlpha = 0.85;
      c.fillRect(x0, RULER, Math.max(1, x1 - x0), 2);
      c.globalAlpha = 1;
    }
  }

  measure(t) {
    const c = this.c;
    if (!t.measured) return;
    const x0 = this.x(t, t.measured.start), x1 = this.x(t, t.measured.end);
    c.fillStyle = t.theme.accent;
    c.globalAlpha = 0.1;
    c.fillRect(x0, 0, x1 - x0, this.h);
    c.globalAlpha = 1;
    c.fillRect(Math.round(x0), 0, 1, this.h);
    c.fillRect(Math.round(x1), 0, 1, this.h);
  }

  cursor(t) {
    if (t.pointer === null) return;
    const c = this.c, text = tickLabel(t.timeAt(t.pointer) - t.origin, tickStep((t.view.end - t.view.start) / this.w, 2));
    c.globalAlpha = 0.35;
    c.fillStyle = t.theme.ink;
    c.fillRect(Math.round(t.pointer), RULER, 1, this.h);
    c.globalAlpha = 1;
    const w = this.width(text) + 12, x = clamp(t.pointer - w / 2, 0, this.w - w);
    c.fillStyle = t.theme.ink;
    c.beginPath();
    c.roundRect(x, 3, w, RULER - 7, 4);
    c.fill();
    c.fillStyle = t.theme.panel;
    c.textAlign = 'left';
    c.fillText(text, x + 6, RULER / 2);
  }
}
