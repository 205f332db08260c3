'use strict';
// The five numbers of the top bar with the bar of what the span is made of, and the live breakdown of a
// measured window.

/** The parts of a span that add up to it, as [label, nanoseconds, colour]. */
function identity(part, theme) {
  return [
    ['compute', part.compute, theme.classes[0]],
    ['exposed communication', part.exposed, theme.exposed],
    ['exposed memory', part.exposedMemory, theme.classes[2]],
    ['idle', part.idle, theme.idle],
  ];
}

function identityBar(part, theme) {
  const total = identity(part, theme).reduce((sum, [, ns]) => sum + Math.max(0, ns), 0);
  return h('div.identity', identity(part, theme).map(([label, ns, color]) => ns > 0 && h('i', {
    title: `${label} ${time(ns)} (${percent(ns, total, 2)})`,
    style: {'flex-grow': String(ns / total), background: color}})));
}

/** From the analyses where they are there, so that the page says what the command line says. */
function summaryOf(model, rank) {
  const {summary, ranks} = model.analyses;
  const gpu = (ranks && ranks[rank.index] && ranks[rank.index].gpu) || (rank.index === 0 && summary && summary.gpu);
  if (gpu) {
    return {span: gpu.span_us * 1e3, busy: gpu.busy_us * 1e3, idle: gpu.idle_us * 1e3, compute: gpu.compute_us * 1e3,
      communication: gpu.communication_us * 1e3, exposed: gpu.exposed_communication_us * 1e3,
      exposedMemory: gpu.exposed_memory_us * 1e3, overlap: gpu.overlap_us * 1e3,
      structural: (gpu.structural_exposed_us ?? NaN) * 1e3, pieces: gpu.structural_exposed_pieces};
  }
  const part = model.breakdown(rank, ...model.gpuSpan(rank));
  return {...part, communication: lengthIn(rank.sets.communication, ...model.gpuSpan(rank))};
}

function showFigures(model, rank, theme) {
  const s = summaryOf(model, rank), us = ns => String(Math.round(ns) / 1000);
  const figure = (id, label, value, data, hint, note) => h('div', {className: `figure ${id}`, title: hint,
      'data-value': data},
    h('span.name', label), h('span.value', value), note && h('span.note', note));
  const overlap = s.communication > 0 ? 100 * s.overlap / s.communication : NaN;
  const structural = s.structural > 0 ? `, of which ${time(s.structural)} in ${s.pieces} pieces are longer than 10 µs` : '';
  $('figures').replaceChildren(
    h('div.row', model.ranks.length > 1 && h('span.of', rank.label),
      figure('span', 'Span', time(s.span), us(s.span), `From the first to the last GPU activity: ${exactUs(s.span)}`),
      figure('busy', 'Busy', time(s.busy), us(s.busy), `Some kernel, copy or memset runs: ${exactUs(s.busy)}`,
          percent(s.busy, s.span)),
      figure('overlap', 'Overlap', Number.isFinite(overlap) ? overlap.toFixed(2) + '%' : '–', String(overlap),
        `Of ${exactUs(s.communication)} of communication, this share runs beside computation`),
      figure(s.exposed > 0 ? 'exposed' : 'exposed none', 'Exposed', time(s.exposed), us(s.exposed),
        `Communication with no computation beside it: ${exactUs(s.exposed)}${structural}`, percent(s.exposed, s.span)),
      figure('idle', 'Idle', time(s.idle), us(s.idle), `Nothing runs: ${exactUs(s.idle)}`, percent(s.idle, s.span))),
    identityBar(s, theme));
}

/** The card that follows a measured window. */
class MeasureCard {
  constructor(timeline) {
    this.t = timeline;
    this.card = $('measure');
    timeline.on('measure', () => this.update());
    timeline.on('view', () => this.place());
  }

  update() {
    const {measured, mainRank: rank, model, theme} = this.t;
    this.card.hidden = !measured;
    if (!measured) return;
    const before = performance.now();
    const part = model.breakdown(rank, measured.start - rank.offset, measured.end - rank.offset);
    this.took = performance.now() - before;
    const line = (label, ns, color) => h('div.line', h('i', {style: {background: color || 'transparent'}}),
      h('span', label), h('b', time(ns)), h('em', percent(ns, part.span)));
    this.card.replaceChildren(
      h('div.head', h('b', time(part.span)), h('span', several(this.t) ? rank.label : 'window')),
      identityBar(part, theme),
      line('Busy', part.busy), line('Compute', part.compute, theme.classes[0]),
      line('Communication', part.communication, theme.classes[1]), line('Overlap', part.overlap),
      line('Exposed', part.exposed, theme.exposed), line('Idle', part.idle, theme.idle));
    this.place();
  }

  /** Below the axis, inside of the view, beside the window rather than over it where there is room. */
  place() {
    const {measured, view} = this.t;
    if (!measured) return;
    const width = view.width / view.dpr, at = ns => (ns - view.start) / (view.end - view.start) * width;
    const left = $('gutter').offsetWidth, x0 = at(measured.start), x1 = at(measured.end), own = this.card.offsetWidth || 220;
    const x = x1 + own + 12 < width ? x1 + 8 : x0 - own - 8 > 0 ? x0 - own - 8 : width - own - 8;
    this.card.style.transform = `translate(${Math.round(left + clamp(x, 8, width - own - 8))}px, ${RULER + 8}px)`;
  }
}

const several = timeline => timeline.model.ranks.length > 1;
