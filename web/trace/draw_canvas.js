'use strict';
// The same rectangles on a 2D canvas, for browsers without WebGL2 (or with #canvas2d in the address).

class CanvasDrawer {
  constructor(canvas) {
    this.name = 'canvas2d';
    this.context = canvas.getContext('2d');
    this.styles = new Map();
  }

  style(color) {
    let text = this.styles.get(color);
    if (!text) {
      if (this.styles.size > 4096) this.styles.clear();  // alphas of merged bars are many
      text = `rgba(${color & 255},${color >> 8 & 255},${color >> 16 & 255},${(color >>> 24) / 255})`;
      this.styles.set(color, text);
    }
    return text;
  }

  draw(quads, width, height, dpr) {
    const context = this.context, {rect, color} = quads;
    context.clearRect(0, 0, width, height);
    const radius = 2 * dpr;
    let current = -1;
    for (let i = 0, at = 0; i < quads.n; ++i, at += 4) {
      if (color[i] !== current) {
        current = color[i];
        context.fillStyle = this.style(current);
      }
      const w = rect[at + 2] - rect[at], h = rect[at + 3] - rect[at + 1];
      if (w > 4 * radius && context.roundRect) {
        context.beginPath();
        context.roundRect(rect[at], rect[at + 1], w, h, radius);
        context.fill();
      } else {
        context.fillRect(rect[at], rect[at + 1], w, h);
      }
    }
  }
}
