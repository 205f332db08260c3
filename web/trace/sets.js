'use strict';
// Sets of time as sorted disjoint intervals, with the length before each, so that "how much of [a, b)
// is covered" is two binary searches: the breakdown under the pointer follows a drag at any size.
// Runs in the page and in its worker. Times are nanoseconds in doubles (exact to 2^53, 104 days).

/** The first index in [0, n) with values[index] > x, or n. */
function upperBound(values, x, n = values.length) {
  let low = 0;
  while (low < n) {
    const middle = (low + n) >> 1;
    if (values[middle] > x) n = middle; else low = middle + 1;
  }
  return low;
}

function makeSet(start, end) {
  const before = new Float64Array(start.length + 1);
  for (let i = 0; i < start.length; ++i) before[i + 1] = before[i] + (end[i] - start[i]);
  return {start, end, before};
}

/** The part of [a, b) that the set covers. */
function lengthIn(set, a, b) {
  if (b <= a) return 0;
  return lengthUntil(set, b) - lengthUntil(set, a);
}

function lengthUntil(set, x) {
  const i = upperBound(set.start, x) - 1;
  return i < 0 ? 0 : set.before[i] + Math.min(x, set.end[i]) - set.start[i];
}

/** A set from the times at which `inside(a, b)` becomes true and false, a and b telling whether the
    two sets hold a time. One sweep makes union, intersection and difference. */
function combine(a, b, inside) {
  const start = [], end = [];
  let i = 0, j = 0, open = false;
  const na = 2 * a.start.length, nb = 2 * b.start.length;
  const edge = (set, k) => (k & 1 ? set.end : set.start)[k >> 1];
  while (i < na || j < nb) {
    const x = i < na ? edge(a, i) : Infinity, y = j < nb ? edge(b, j) : Infinity;
    const time = Math.min(x, y);
    if (x === time) ++i;
    if (y === time) ++j;
    const now = inside((i & 1) === 1, (j & 1) === 1);
    if (now !== open) {
      open = now;
      (now ? start : end).push(time);
    }
  }
  return makeSet(Float64Array.from(start), Float64Array.from(end));
}

const unite = (a, b) => combine(a, b, (x, y) => x || y);
const intersect = (a, b) => combine(a, b, (x, y) => x && y);
const subtract = (a, b) => combine(a, b, (x, y) => x && !y);

/** Everything that the page says about busy time, from the three sets of one rank. */
function deriveSets(compute, communication, memory) {
  const both = unite(compute, communication);
  return {
    compute, communication, memory,
    busy: unite(both, memory),
    overlap: intersect(compute, communication),
    exposed: subtract(communication, compute),
    exposedMemory: subtract(memory, both),
  };
}

/** A step function: value[i] from time[i] on; integral[i] up to time[i]. 0 before the first. */
function makeSteps(time, value, max) {
  const n = time.length, integral = new Float64Array(n);
  let peak = 0;
  for (let i = 0; i < n; ++i) {
    value[i] = Math.min(max, Math.max(0, value[i]));
    if (value[i] > peak) peak = value[i];
    if (i > 0) integral[i] = integral[i - 1] + value[i - 1] * (time[i] - time[i - 1]);
  }
  return {time, value, integral, peak};
}

function integralUntil(steps, x) {
  const i = upperBound(steps.time, x) - 1;
  return i < 0 ? 0 : steps.integral[i] + steps.value[i] * (x - steps.time[i]);
}

const meanIn = (steps, a, b) => b > a ? (integralUntil(steps, b) - integralUntil(steps, a)) / (b - a) : 0;
