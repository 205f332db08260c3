'use strict';
// The strip above the timeline: all of the shown ranks, each pixel column stacked of computation, hidden and
// exposed communication; a lens shows and moves what the timeline shows.

class Overview {
  constructor(timeline) {
    this.t = timeline;
    this.strip = $('overview').querySelector('.strip');
    this.canvas = this.strip.querySelector('canvas');
    this.lens = this.strip.querySelector('.lens');
    this.strip.addEventListener('pointerdown', event => this.grab(event));
  }

  /** Only when the size, the theme or the rank changed. */
  paint() {
    const width = Math.round(this.strip.clientWidth * devicePixelRatio);
    const height = Math.round(this.strip.clientHeight * devicePixelRatio);
    this.canvas.width = width;
    this.canvas.height = height;
    // Several ranks lie below each other, as many as there is room for.
    const ranks = this.t.shownRanks.slice(0, Math.max(1, Math.floor(height / (4 * devicePixelRatio))));
    ranks.forEach((rank, i) => {
      const top = Math.round(i * height / ranks.length), bottom = Math.round((i + 1) * height / ranks.length);
      this.paintRank(rank, width, top, bottom - top - (ranks.length > 1 ? 1 : 0));
    });
    this.move();
  }

  /** Computation fills from below; communication hangs from above, and as much of the whole height is red as is
      exposed. */
  paintRank(rank, width, top, height) {
    const c = this.canvas.getContext('2d'), {theme, extent} = this.t, {sets} = rank;
    const pixel = (extent.end - extent.start) / width;
    const colors = [[sets.compute, theme.busy], [sets.memory, theme.classes[2]],
      [sets.overlap, theme.hidden], [sets.exposed, theme.exposed]];
    for (let x = 0; x < width; ++x) {
      const a = extent.start + x * pixel - rank.offset, b = a + pixel;
      const [compute, memory, overlap, exposed] = colors.map(([set]) => lengthIn(set, a, b) / pixel);
      const bar = (color, from, to) => {
        if (to <= from) return;
        c.fillStyle = color;
        c.fillRect(x, top + from * height, 1, (to - from) * height);
      };
      bar(colors[0][1], 1 - 0.55 * compute, 1);
      bar(colors[1][1], 1 - 0.55 * memory * (1 - compute), 1);
      bar(colors[2][1], 0.45 - 0.35 * overlap, 0.45);
      bar(colors[3][1], 0.1, 0.1 + 0.9 * exposed);
    }
  }

  move() {
    const {view, extent} = this.t, width = this.strip.clientWidth;
    const at = ns => clamp((ns - extent.start) / (extent.end - extent.start), 0, 1) * width;
    const x0 = at(view.start), x1 = at(view.end);
    this.lens.style.transform = `translateX(${x0}px)`;
    this.lens.style.width = `${Math.max(2, x1 - x0)}px`;
  }

  grab(event) {
    const box = this.strip.getBoundingClientRect(), {view, extent} = this.t;
    const at = x => extent.start + (x - box.left) / box.width * (extent.end - extent.start);
    const length = view.end - view.start;
    let from = at(event.clientX);
    if (from < view.start || from > view.end) this.t.show(from - length / 2, from + length / 2, false);
    const move = e => {
      const now = at(e.clientX);
      this.t.show(view.start + now - from, view.start + now - from + length, false);
      from = now;
    };
    this.strip.setPointerCapture(event.pointerId);
    this.strip.onpointermove = move;
    this.strip.onpointerup = this.strip.onpointercancel = () => { this.strip.onpointermove = null; };
    event.preventDefault();
  }
}
