'use strict';
// The decoded trace and what is asked of it: names, bars by id, colours, twins.

class Model {
  constructor(meta, {strings, shorts, ranks}) {
    this.meta = meta;
    this.analyses = meta.analyses || {};
    this.strings = strings;
    this.decoder = new TextDecoder();
    this.shorts = new Map(Array.from(shorts.name, (name, i) =>
      [name, shown(this.decoder.decode(shorts.bytes.subarray(shorts.offset[i], shorts.offset[i + 1])), 600)]));
    this.names = new Array(strings.offset.length - 1);
    this.ranks = ranks.map((rank, i) => this.makeRank(rank, meta.timeline_ranks[i], i));
    this.hasPhases = this.ranks.some(r => r.regionPhase.some(p => p < 3));
  }

  get nameCount() { return this.names.length; }

  name(i) {
    if (this.names[i] === undefined) {
      const {offset, bytes} = this.strings;
      this.names[i] = this.decoder.decode(bytes.subarray(offset[i], offset[i + 1]));
    }
    return this.names[i];
  }

  /** As the tables call it. */
  shortName(i) { return this.shorts.get(i) ?? shortName(this.name(i)); }

  makeRank(rank, info, index) {
    rank.index = index;
    rank.info = info;
    rank.label = info.label;
    rank.clock = this.analyses.clocks && this.analyses.clocks[index];
    rank.tracks = rank.tracks.map((lanes, i) => {
      const track = {...info.tracks[i], rank, lanes};
      for (const lane of lanes) lane.track = track;
      return track;
    });
    rank.lanes = rank.tracks.flatMap(t => t.lanes);
    rank.laneIds = Float64Array.from(rank.lanes, lane => lane.firstId);
    rank.regionPhase = Array.from(rank.regions.name, n => phaseOf(this.name(n)));
    return rank;
  }

  /** From the first to the last event of some ranks, in page time. */
  extent(ranks) {
    const start = Math.min(...ranks.map(r => r.offset));
    return {start, end: Math.max(start + 1, ...ranks.map(r => r.offset + r.end))};
  }

  /** The bar of a rank by its id. */
  bar(rank, id) {
    const lane = rank.lanes[upperBound(rank.laneIds, id) - 1];
    return {rank, lane, i: id - lane.firstId, id};
  }

  /** Palette indices of a lane's bars, by "class", "phase" or "name". */
  colors(lane, mode) {
    if (lane.colorMode !== mode) {
      lane.colorMode = mode;
      lane.color = new Uint8Array(lane.n);
      for (let i = 0; i < lane.n; ++i) lane.color[i] = this.colorOf(lane, i, mode);
    }
    return lane.color;
  }

  colorOf(lane, i, mode) {
    if (mode === 'name') return OF_NAME + this.nameColor(lane.name[i]);
    if (lane.flags & GPU) {
      const kind = lane.kind[i] & 3, barrier = (lane.kind[i] >> 2 & 3) === 2;
      if (mode === 'class') return OF_CLASS + (barrier ? 3 : kind);
      const region = lane.region[i];
      const phase = region ? lane.track.rank.regionPhase[region - 1] : 3;
      return OF_PHASE + 2 * phase + (kind === 1 ? 1 : 0);
    }
    if (lane.flags & REGIONS || lane.category[i] === 2 || lane.category[i] === 3) {
      const phase = this.phaseOfName(lane.name[i]);
      const transfers = lane.flags & TRANSFERS ? 1 : 0;
      if (mode === 'class') return lane.flags & REGIONS ? OF_CLASS + transfers : OF_HOST + 1;
      return phase === 3 && !(lane.flags & REGIONS) ? OF_HOST + 1 : OF_PHASE + 2 * phase + transfers;
    }
    return OF_HOST + (HOST_COLOR[lane.category[i]] ?? 4);
  }

  nameColor(n) {
    this.nameColors ??= new Int16Array(this.nameCount).fill(-1);
    if (this.nameColors[n] < 0) this.nameColors[n] = hashColor(this.name(n));
    return this.nameColors[n];
  }

  phaseOfName(n) {
    this.phases ??= new Int8Array(this.nameCount).fill(-1);
    if (this.phases[n] < 0) this.phases[n] = phaseOf(this.name(n));
    return this.phases[n];
  }

  /** How many bars of a rank have each name. */
  barsByName(rank) {
    if (!rank.nameCounts) {
      rank.nameCounts = new Uint32Array(this.nameCount);
      for (const lane of rank.lanes) for (let i = 0; i < lane.n; ++i) ++rank.nameCounts[lane.name[i]];
    }
    return rank.nameCounts;
  }

  /** Sorted durations of all unmerged bars of a rank with this name and kind of lane. */
  twins(rank, lane, name) {
    const durations = [];
    for (const other of rank.lanes) {
      if ((other.flags & ~MERGED) !== (lane.flags & ~MERGED)) continue;
      for (let i = 0; i < other.n; ++i) {
        if (other.name[i] === name && !(other.count && other.count[i] > 1)) durations.push(other.end[i] - other.start[i]);
      }
    }
    return Float64Array.from(durations).sort();
  }

  /** The GPU bars that a call of the host launched, earliest first. */
  launchedBy(rank, id) {
    if (!rank.byLaunch) {
      rank.byLaunch = new Map();
      for (const lane of rank.lanes) {
        if (!(lane.flags & GPU)) continue;
        for (let i = 0; i < lane.n; ++i) {
          const launch = lane.launch[i];
          if (!launch) continue;
          if (!rank.byLaunch.has(launch - 1)) rank.byLaunch.set(launch - 1, []);
          rank.byLaunch.get(launch - 1).push(lane.firstId + i);
        }
      }
    }
    return rank.byLaunch.get(id) || [];
  }

  /** What [a, b) of a rank, in its own time, is made of; nanoseconds. */
  breakdown(rank, a, b) {
    const part = {span: b - a};
    for (const [key, set] of Object.entries(rank.sets)) part[key] = lengthIn(set, a, b);
    part.idle = part.span - part.busy;
    return part;
  }

  /** The extent of a rank's GPU work, in its own time. */
  gpuSpan(rank) {
    const {start, end} = rank.sets.busy;
    return start.length ? [start[0], end[end.length - 1]] : [0, rank.end];
  }
}
