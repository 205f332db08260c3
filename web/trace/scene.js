'use strict';
// From lanes to rectangles: what of the visible time is drawn, at the level of detail that suits it.
//
// Every frame collects the rectangles anew, in device pixels relative to the view, computed in doubles:
// no tile or buffer has to be kept, float32 is precise at every zoom, and both backends draw the same.
// Levels bound the work: a lane gives at most a few rectangles per pixel column, however many events
// lie in it.

class Quads {
  constructor() {
    this.n = 0;
    this.grow(1 << 14);
  }

  grow(capacity) {
    const old = this.rect, oldColor = this.color;
    this.capacity = capacity;
    this.rect = new Float32Array(4 * capacity);
    this.color = new Uint32Array(capacity);  // 0xAABBGGRR
    if (old) {
      this.rect.set(old);
      this.color.set(oldColor);
    }
  }

  add(x0, y0, x1, y1, color) {
    if (this.n === this.capacity) this.grow(2 * this.capacity);
    const at = 4 * this.n;
    this.rect[at] = x0;
    this.rect[at + 1] = y0;
    this.rect[at + 2] = x1;
    this.rect[at + 3] = y1;
    this.color[this.n++] = color;
  }
}

/** The coarsest level whose bars are at most a device pixel, or null for the bars themselves. */
function levelFor(lane, nsPerPixel) {
  let found = null;
  for (const level of lane.levels) {
    if (level.q > nsPerPixel) break;
    found = level;
  }
  return found;
}

/** The bars or merged bars of a lane from `start` on. */
function firstVisible(lane, level, start) {
  if (!level) return Math.max(0, upperBound(lane.end, start));
  // Of ascending ends: the merged bar that holds the first visible bar.
  const bar = Math.min(lane.n - 1, upperBound(lane.end, start));
  return Math.max(0, upperBound(level.first, bar, level.n) - 1);
}

const packed = ([r, g, b], alpha) => (Math.round(255 * alpha) << 24 | b << 16 | g << 8 | r) >>> 0;
const DIMMED = 0.13;

class Scene {
  constructor() {
    this.quads = new Quads();
    this.visible = [];  // lanes with their level and geometry, for labels
  }

  /** t.view: {start, end} in page time, width and height in device pixels, dpr, scroll in CSS pixels. */
  collect({rows, view, theme, model, mode, matches, origin}) {
    this.quads.n = 0;
    this.visible.length = 0;
    if (this.theme !== theme) {
      this.theme = theme;
      this.opaque = theme.palette.map(c => [packed(c, DIMMED), packed(c, 1)]);
    }
    this.grid(view, theme, origin);
    for (const row of rows) {
      if (!row.lanes) continue;
      const top = row.y - view.scroll;
      if (top > view.height / view.dpr || top + row.height < 0) continue;
      row.lanes.forEach((lane, i) => {
        const y = top + i * (row.laneHeight + 1);
        if (y > view.height / view.dpr || y + row.laneHeight < 0 || lane.n === 0) return;
        const y0 = Math.round(y * view.dpr), y1 = Math.round((y + row.laneHeight) * view.dpr);
        const offset = row.rank.offset, nsPerPixel = (view.end - view.start) / view.width;
        const level = levelFor(lane, nsPerPixel);
        const shape = {lane, level, y0, y1, offset, row, nsPerPixel, colors: model.colors(lane, mode)};
        this.visible.push(shape);
        this.collectLane(shape, view, matches);
      });
    }
    return this.quads;
  }

  /** The axis' lines, under everything. */
  grid(view, theme, origin) {
    const scale = view.width / (view.end - view.start), step = tickStep(1 / scale * view.dpr, TICK_PIXELS);
    const color = packed(rgbOf(theme.line), 1), width = Math.max(1, Math.floor(view.dpr));
    const start = view.start - origin, end = view.end - origin;
    for (let i = Math.ceil(start / step), n = 0; i * step <= end && n < 200; ++i, ++n) {
      const x = Math.round((i * step - start) * scale);
      this.quads.add(x, 0, x + width, view.height, color);
    }
  }

  collectLane({lane, level, y0, y1, offset, nsPerPixel, colors}, view, matches) {
    const start = view.start - offset, end = view.end - offset, scale = 1 / nsPerPixel, limit = view.width + 4;
    const n = level ? level.n : lane.n, palette = this.theme.palette;
    let lastX = -1, lastEnd = -Infinity;
    for (let i = firstVisible(lane, level, start); i < n; ++i) {
      const first = level ? level.first[i] : i;
      const s = lane.start[first];
      if (s > end) break;
      const last = level ? level.first[i + 1] - 1 : i, longest = level ? level.longest[i] : i;
      const e = lane.end[last];
      let x0 = Math.max(-4, Math.round((s - start) * scale));
      let x1 = Math.min(limit, Math.round((e - start) * scale));
      const gap = (s - lastEnd) * scale;
      lastEnd = e;
      if (x1 <= lastX) continue;  // its column is drawn
      // A gap of less than a pixel is in the alpha already; rounding must not make a white line of it.
      if (x0 === lastX + 1 && gap < 0.75) x0 = lastX;
      const width = x1 - x0;
      if (width < 1) x1 = x0 + 1;
      else if (width > 2.5 * view.dpr) x1 -= 1;  // a hairline between neighbours
      lastX = x1;
      const covered = level ? level.covered[i] : lane.covered ? lane.covered[i] : e - s;
      const filled = e > s ? covered / (e - s) : 1;
      const hidden = matches && !this.anyMatch(lane, first, last, matches);
      const color = colors[longest];
      if (filled > 0.98) this.quads.add(x0, y0, x1, y1, this.opaque[color][hidden ? 0 : 1]);
      else this.quads.add(x0, y0, x1, y1, packed(palette[color], hidden ? DIMMED : 0.22 + 0.78 * filled));
    }
  }

  /** Whether a name of these bars is searched for; of long runs a sample, the count is exact elsewhere. */
  anyMatch(lane, first, last, matches) {
    const step = Math.max(1, Math.floor((last - first) / 64));
    for (let i = first; i <= last; i += step) if (matches[lane.name[i]]) return true;
    return false;
  }
}
