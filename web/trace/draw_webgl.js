'use strict';
// Rectangles by WebGL2: one instanced draw call for all of them.

const VERTEX = `#version 300 es
layout(location = 0) in vec4 rect;
layout(location = 1) in vec4 color;
uniform vec2 size;
uniform float radius;
out vec4 fill;
out vec2 at;
flat out vec3 box;
void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  vec2 p = mix(rect.xy, rect.zw, corner);
  vec2 extent = rect.zw - rect.xy;
  at = (corner - 0.5) * extent;
  box = vec3(extent * 0.5, extent.x > 4.0 * radius ? radius : 0.0);
  fill = color;
  gl_Position = vec4(p / size * vec2(2, -2) + vec2(-1, 1), 0, 1);
}`;

const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 fill;
in vec2 at;
flat in vec3 box;
out vec4 result;
void main() {
  float alpha = fill.a;
  if (box.z > 0.0) {
    vec2 d = abs(at) - box.xy + box.z;
    if (d.x > 0.0 && d.y > 0.0) alpha *= clamp(box.z + 0.5 - length(d), 0.0, 1.0);
  }
  result = vec4(fill.rgb * alpha, alpha);
}`;

class WebglDrawer {
  /** Null where the browser has no WebGL2, or only one drawn by the processor, against which a 2D canvas
      is ten times faster. `onLost` is called when its context goes for good. */
  static create(canvas, allowSlow, onLost) {
    const gl = canvas.getContext('webgl2', {alpha: true, antialias: false, depth: false, premultipliedAlpha: true,
      failIfMajorPerformanceCaveat: !allowSlow});
    return gl ? new WebglDrawer(canvas, gl, onLost) : null;
  }

  constructor(canvas, gl, onLost) {
    this.name = 'webgl2';
    this.gl = gl;
    // Some drivers never restore a context; the 2D canvas draws the same, so nobody waits for them.
    canvas.addEventListener('webglcontextlost', event => {
      event.preventDefault();
      onLost();
    });
    const program = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    this.size = gl.getUniformLocation(program, 'size');
    this.radius = gl.getUniformLocation(program, 'radius');
    this.rects = this.attribute(0, 4, gl.FLOAT, false);
    this.colors = this.attribute(1, 4, gl.UNSIGNED_BYTE, true);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  attribute(location, count, type, normalized) {
    const gl = this.gl, buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, count, type, normalized, 0, 0);
    gl.vertexAttribDivisor(location, 1);
    return buffer;
  }

  draw(quads, width, height, dpr) {
    const gl = this.gl;
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (quads.n === 0) return;
    gl.uniform2f(this.size, width, height);
    gl.uniform1f(this.radius, 2 * dpr);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.rects);
    gl.bufferData(gl.ARRAY_BUFFER, quads.rect.subarray(0, 4 * quads.n), gl.STREAM_DRAW);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.colors);
    gl.bufferData(gl.ARRAY_BUFFER, quads.color.subarray(0, quads.n), gl.STREAM_DRAW);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, quads.n);
  }
}
