'use strict';
// Which rows the timeline has, and where. A row is a track with its lanes or a chart; y counts CSS
// pixels from the top of all rows.

const ROW_GAP = 5;
const GROWS = new Set(['regions', 'gpu', 'sm', 'queue']);
const LANE = {regions: 20, gpu: 22, host: 15, other: 15}, LANE_OF_SEVERAL = {regions: 15, gpu: 15};

/** What was done to a rank's clock, for the row above its own. */
function rankText({clock, info}) {
  const parts = [];
  if (clock && clock.collectives > 0) {
    const fast = clock.offset_us * 1000;
    parts.push(`clock ${time(Math.abs(fast))} ${fast < 0 ? 'slow' : 'fast'}, corrected, ± ${time(clock.residual_us * 1000)}`);
  } else if (clock) {
    parts.push('clock as in the trace: no collective joins it to other ranks');
  }
  parts.push(shown(info.path.replace(/.*\//, ''), 80));
  return parts.join('  ·  ');
}

/** All rows of the shown ranks. With several, only what happens on their GPUs has rows. Fold state lives in `folded` by key. Where there is room, what happens on the
    GPU takes it. */
function makeRows(shownRanks, folded, room) {
  const plain = layRows(shownRanks, folded, 1);
  const growing = plain.rows.filter(row => GROWS.has(row.kind)).reduce((sum, row) => sum + row.height, 0);
  const scale = clamp(1 + (room - plain.height) / Math.max(1, growing), 1, 1.7);
  return scale > 1.02 ? layRows(shownRanks, folded, scale) : plain;
}

function layRows(shownRanks, folded, scale) {
  const rows = [];
  for (const rank of shownRanks) {
    const several = shownRanks.length > 1;
    if (several) {
      rows.push({kind: 'rank', key: `rank${rank.index}`, rank, label: rank.label, text: rankText(rank), height: 24, foldable: true,
        folded: folded.get(`rank${rank.index}`) ?? false});
      if (rows[rows.length - 1].folded) continue;
    }
    rows.push(...rowsOfRank(rank, folded, several, scale));
  }
  let y = 6;
  for (const row of rows) {
    row.y = y;
    y += row.height + (row.kind === 'host' || row.kind === 'rank' ? 3 : ROW_GAP);
  }
  return {rows, height: y + 10};
}

function rowsOfRank(rank, folded, several, scale) {
  const grown = (kind, height) => GROWS.has(kind) ? Math.round(height * scale) : height;
  const by = kind => rank.tracks.filter(t => t.kind === kind && t.lanes.length);
  const rows = [];
  const lanes = (track, label, sub, canFold, foldedAtFirst) => {
    const key = `${rank.index}:${rank.tracks.indexOf(track)}`;
    const isFolded = canFold && (folded.get(key) ?? foldedAtFirst);
    const kind = LANE[track.kind] ? track.kind : 'other';
    const shownLanes = isFolded ? track.lanes.slice(0, 1) : track.lanes;
    const laneHeight = grown(kind, (several && LANE_OF_SEVERAL[kind]) || LANE[kind]);
    rows.push({kind, key, rank, track, label, sub, lanes: shownLanes, laneHeight, foldable: canFold,
      folded: isFolded, height: shownLanes.length * (laneHeight + 1) - 1});
  };
  const chart = (kind, label, sub, height) => rows.push({kind, rank, label, sub, height: grown(kind, height),
      key: `${rank.index}:${kind}`});

  for (const track of by('regions')) lanes(track, 'Regions', 'GPU time', false);
  const order = {compute: 0, communication: 1, memory: 2};
  const streams = by('gpu').sort((a, b) => order[a.role] - order[b.role] || a.device - b.device || a.stream - b.stream);
  const devices = new Set(streams.map(t => t.device)).size;
  for (const track of streams) {
    const sub = track.role === 'communication' ? 'comm' : track.role;
    lanes(track, (devices > 1 ? `GPU ${track.device} ` : '') + `Stream ${track.stream}`, sub, false);
  }
  if (streams.length) chart('exposed', 'Exposed', 'comm alone', several ? 13 : 14);
  if (several) return rows;
  if (rank.smUse.peak > 0) chart('sm', 'SM use', `of ${rank.info.sms}`, 44);
  if (rank.queue.peak > 0) chart('queue', 'Launch queue', `peak ${rank.queue.peak}`, 30);
  for (const track of by('gpu_annotation')) lanes(track, 'Annotations', track.label, track.lanes.length > 1, true);
  for (const track of by('gpu_sync')) lanes(track, 'Sync', track.label, track.lanes.length > 1, true);
  const hosts = by('host').sort((a, b) => b.events - a.events);
  for (const track of hosts) lanes(track, trackLabel(track), hostSub(track), track.lanes.length > 1, true);
  for (const kind of ['counter', 'other']) {
    for (const track of by(kind)) lanes(track, trackLabel(track), kind, track.lanes.length > 1, true);
  }
  return rows;
}

const trackLabel = track => shown(track.label || track.process || track.pid || '(no name)', 60);

function hostSub(track) {
  const lanes = track.lanes.length;
  return `${lanes} ${lanes === 1 ? 'level' : 'levels'}`;
}

/** The row and lane at y, and the top of that lane. */
function laneAt(rows, y) {
  for (const row of rows) {
    if (y < row.y || y >= row.y + row.height + 1) continue;
    if (!row.lanes) return {row, lane: null, top: row.y};
    const index = Math.min(row.lanes.length - 1, Math.floor((y - row.y) / (row.laneHeight + 1)));
    return {row, lane: row.lanes[index], top: row.y + index * (row.laneHeight + 1)};
  }
  return null;
}

/** The bar of a lane that is at `t` or within `slack` of it: the nearest, the longest of equals.
    A zero-length bar inside the slack wins over the bar around it, or it could never be met. */
function hit(lane, t, slack) {
  let best = -1, bestDistance = Infinity;
  const past = upperBound(lane.start, t + slack);
  for (let i = past - 1, looked = 0; i >= 0 && looked < 400; --i, ++looked) {
    const distance = t < lane.start[i] ? lane.start[i] - t : t > lane.end[i] ? t - lane.end[i] : 0;
    const overlapping = lane.track.lanes.length >= 256;
    if (distance > slack && !overlapping && lane.end[i] < t - slack) break;
    if (distance > slack) continue;
    const length = lane.end[i] - lane.start[i];
    const better = distance < bestDistance || (distance === bestDistance && length > lane.end[best] - lane.start[best]);
    if (best < 0 || better) {
      best = i;
      bestDistance = distance;
    }
  }
  return best;
}

/** Where a bar is drawn: {row, lane, y, height} or null if its row is folded away. */
function placeOf(rows, bar) {
  for (const row of rows) {
    if (!row.lanes || row.rank !== bar.rank) continue;
    const index = row.lanes.indexOf(bar.lane);
    if (index >= 0) return {row, y: row.y + index * (row.laneHeight + 1), height: row.laneHeight};
  }
  return null;
}
