'use strict';
// The payload of a report, from base64 text to columns. Its format is written down where it is made
// (src/trace/timeline_data.h). Runs in a worker, or in the page where a browser allows no worker.

const MERGED = 1, GPU = 2, REGIONS = 4, TRANSFERS = 8;  // flags of a lane

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const value = new Uint8Array(128);
  const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  for (let i = 0; i < 64; ++i) value[digits.charCodeAt(i)] = i;
  const pad = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const bytes = new Uint8Array(text.length / 4 * 3);
  for (let i = 0, o = 0; i < text.length; i += 4) {
    const bits = value[text.charCodeAt(i)] << 18 | value[text.charCodeAt(i + 1)] << 12 |
      value[text.charCodeAt(i + 2)] << 6 | value[text.charCodeAt(i + 3)];
    bytes[o++] = bits >> 16;
    bytes[o++] = bits >> 8;
    bytes[o++] = bits;
  }
  return bytes.subarray(0, bytes.length - pad);
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Varints, one by one and column by column. */
class Columns {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  number() {
    let byte = this.bytes[this.at++];
    if (byte < 0x80) return byte;
    let value = byte & 0x7f, scale = 0x80;
    do {
      byte = this.bytes[this.at++];
      value += (byte & 0x7f) * scale;  // not a shift: values pass 2^31
      scale *= 0x80;
    } while (byte >= 0x80);
    if (byte === undefined) throw new Error('the payload ends early');
    return value;
  }

  signed() {
    const z = this.number();
    return z % 2 ? -(z + 1) / 2 : z / 2;
  }

  plain(n, out) {
    for (let i = 0; i < n; ++i) out[i] = this.number();
    return out;
  }

  scaled(n, unit, out) {
    for (let i = 0; i < n; ++i) out[i] = this.number() * unit;
    return out;
  }

  /** Two columns, gaps and lengths, as starts and ends. */
  intervals(n, unit, signed) {
    const start = new Float64Array(n), end = new Float64Array(n);
    for (let i = 0; i < n; ++i) start[i] = signed ? this.signed() : this.number();
    let previous = 0;
    for (let i = 0; i < n; ++i) {
      start[i] = previous + start[i] * unit;
      previous = end[i] = start[i] + this.number() * unit;
    }
    return {start, end};
  }

  ascending(n, out) {
    let value = 0;
    for (let i = 0; i < n; ++i) out[i] = value += this.number();
    return out;
  }
}

function readStrings(r, n = r.number()) {
  const offset = new Uint32Array(n + 1);
  for (let i = 0; i < n; ++i) offset[i + 1] = offset[i] + r.number();
  const bytes = r.bytes.slice(r.at, r.at += offset[n]);
  return {offset, bytes};
}

function readShorts(r) {
  const n = r.number();
  return {name: r.ascending(n, new Uint32Array(n)), ...readStrings(r, n)};
}

function readLevels(r, n, unit) {
  const levels = [];
  for (let left = r.number(); left > 0; --left) {
    const q = r.number() * unit, count = r.number();
    const first = r.ascending(count, new Uint32Array(count + 1));
    first[count] = n;
    const longest = r.plain(count, new Uint32Array(count));
    for (let i = 0; i < count; ++i) longest[i] += first[i];
    levels.push({q, first, longest, covered: r.scaled(count, unit, new Float32Array(count)), n: count});
  }
  return levels;
}

function readLane(r, unit, firstId) {
  const flags = r.number(), n = r.number();
  const lane = {flags, n, firstId, ...r.intervals(n, unit, true)};
  lane.name = r.plain(n, new Uint32Array(n));
  lane.category = r.plain(n, new Uint8Array(n));
  if (flags & MERGED) {
    lane.count = r.plain(n, new Uint32Array(n));
    lane.covered = r.scaled(n, unit, new Float64Array(n));
  }
  if (flags & GPU) {
    lane.kind = r.plain(n, new Uint8Array(n));
    lane.region = r.plain(n, new Uint32Array(n));
    lane.detail = r.plain(n, new Uint32Array(n));
    lane.delay = new Float64Array(n);
    for (let i = 0; i < n; ++i) lane.delay[i] = r.signed() * unit;
    lane.launchDuration = r.scaled(n, unit, new Float64Array(n));
    lane.launch = new Uint32Array(n);
    for (let i = 0, id = 0; i < n; ++i) lane.launch[i] = id += r.signed();
  }
  if (flags & REGIONS) lane.region = r.plain(n, new Uint32Array(n));
  lane.levels = readLevels(r, n, unit);
  return lane;
}

function readSteps(r, unit, max) {
  const n = r.number(), time = new Float64Array(n), value = new Float64Array(n);
  for (let i = 0, t = 0; i < n; ++i) time[i] = t += r.signed() * unit;
  for (let i = 0, v = 0; i < n; ++i) value[i] = v += r.signed();
  return makeSteps(time, value, max);
}

function readRank(r, sms) {
  const unit = r.number(), rank = {unit, offset: r.number(), end: r.number() * unit};
  let n = r.number();
  const launches = [];
  for (let i = 0; i < 8; ++i) launches.push(r.plain(n, new Uint32Array(n)));
  n = r.number();
  const copies = [r.plain(n, new Float64Array(n)), r.plain(n, new Float64Array(n))];
  n = r.number();
  const regions = {name: r.plain(n, new Uint32Array(n)), index: r.plain(n, new Uint32Array(n)),
    ...r.intervals(n, unit, true)};
  const set = () => {
    const size = r.number(), {start, end} = r.intervals(size, unit, false);
    return makeSet(start, end);
  };
  const sets = deriveSets(set(), set(), set());
  const tracks = [];
  let id = 0;
  for (let left = r.number(); left > 0; --left) {
    const lanes = [];
    for (let more = r.number(); more > 0; --more) {
      lanes.push(readLane(r, unit, id));
      id += lanes[lanes.length - 1].n;
    }
    tracks.push(lanes);
  }
  Object.assign(rank, {launches, copies, regions, sets, tracks, bars: id});
  rank.smUse = readSteps(r, unit, sms || Infinity);
  rank.queue = readSteps(r, unit, Infinity);
  n = r.number();
  rank.merged = {name: r.ascending(n, new Uint32Array(n)), count: r.plain(n, new Float64Array(n))};
  return rank;
}

/** blocks: base64 texts; sms: the SMs of each rank. */
async function decodePayload(blocks, bytesTotal, sms, progress) {
  const bytes = new Uint8Array(bytesTotal);
  let at = 0;
  for (let i = 0; i < blocks.length; ++i) {
    const part = await inflate(fromBase64(blocks[i]));
    bytes.set(part, at);
    at += part.length;
    blocks[i] = null;
    progress(at / bytesTotal);
  }
  const r = new Columns(bytes);
  const strings = readStrings(r), shorts = readShorts(r), ranks = [];
  for (let n = r.number(), i = 0; i < n; ++i) ranks.push(readRank(r, sms[i]));
  return {strings, shorts, ranks};
}
