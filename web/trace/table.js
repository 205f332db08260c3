'use strict';
// Tables that sort and copy, and heat maps: the generic content of the analyses' tabs.

const ROWS_AT_ONCE = 200, GRID_AT_ONCE = 60;
const SIZE = /^(sum|total|busy|stall|wait|length|lost|gpu_idle|time|ceiling)_us$/;  // its first column gets bars

const FIXED = [0, 1, 2, 3].map(digits => new Intl.NumberFormat('en-US', {minimumFractionDigits: digits,
  maximumFractionDigits: digits}));

/** A number with all of its column's digits, so that points stand below each other. */
function cellText(value, digits) {
  if (value === null || value === undefined) return '–';
  return typeof value === 'number' && Number.isFinite(value) ? FIXED[digits].format(value) : shown(String(value));
}

/** Digits after the point that four significant ones of the largest value need; none where all are whole. */
function digitsOf(values, unit) {
  let most = 0, whole = true;
  for (const v of values) {
    if (typeof v !== 'number') continue;
    most = Math.max(most, Math.abs(v));
    whole &&= Number.isInteger(v);
  }
  if (whole && unit !== '%') return 0;
  if (unit === '%') return most < 10 ? 2 : 1;
  return most < 10 ? 3 : most < 100 ? 2 : unit === 'us' || most < 1000 ? 1 : 0;
}

const unitText = unit => unit === 'us' ? 'µs' : unit === 'x' ? '×' : shown(unit || '');

/** A column's title and its unit, once. */
function titleOf({title, key, unit}) {
  const text = shown(title ?? key ?? '');
  const bare = unit && (' ' + text).endsWith(' ' + unit) ? text.slice(0, -unit.length).trim() : text;
  return [bare, unit && h('em', `${bare && ' '}${unitText(unit)}`)].filter(Boolean);
}

/** What the analyses say in ASCII, as a page can show it. */
function prose(text) {
  return shown(text).replace(/(\d) us\b/g, '$1 µs').replace(/(\d) %/g, '$1%').replace(/(\d)x(?![\w])/g, '$1×')
    .replace(/(\d) > (?=[\d.,]+)/g, '$1 → ');
}

/** Notes of the analyses are sentences without their frame. */
function sentence(text) {
  const clean = prose(text);
  return clean.charAt(0).toUpperCase() + clean.slice(1) + (/[.:!?]$/.test(clean) ? '' : '.');
}

const noteList = notes => notes && notes.length > 0 && h('div.notes', notes.map(note => h('p', sentence(note))));

function csv(columns, rows) {
  const quote = v => v === null || v === undefined ? ''
      : /[",\n\r]/.test(String(v)) ? `"${String(v).replaceAll('"', '""')}"` : String(v);
  const head = columns.map(c => quote(c.key ?? c.title));
  return [head, ...rows.map(row => row.map(quote))].map(line => line.join(',')).join('\n') + '\n';
}

async function copyText(text, button) {
  const said = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    // file:// pages of some browsers have no clipboard; an old way still works there.
    const area = h('textarea', {value: text, className: 'offscreen'});
    document.body.append(area);
    area.select();
    button.textContent = document.execCommand('copy') ? 'Copied' : 'Not allowed';
    area.remove();
  }
  setTimeout(() => { button.textContent = said; }, 1200);
}

/** A table of the analyses. actions: interval(start_us, end_us) when a row that has one is clicked, find(name) when
    one with a full name is, rank(row) where the first column is a rank, color(columns, row) for the dot before its first cell; all may be missing. */
class Table {
  constructor(table, actions = {}) {
    this.table = table;
    this.actions = actions;
    this.fullName = table.columns.findIndex(c => c.title === 'full name');
    this.shown = table.columns.map((_, i) => i).filter(i => i !== this.fullName &&
      (table.rows.length === 0 || table.rows.some(row => row[i] !== null && row[i] !== '')));
    this.order = Array.from(table.rows.keys());
    this.limit = ROWS_AT_ONCE;
    this.digits = table.columns.map((column, i) => digitsOf(table.rows.map(row => row[i]), column.unit));
    this.sized = table.rows.length > 1 ? table.columns.findIndex(c => SIZE.test(c.key)) : -1;
    this.most = Math.max(1e-12, ...this.sized < 0 ? [] : table.rows.map(row => row[this.sized] || 0));
    this.numeric = table.columns.map((column, i) => column.align ? column.align === 'right'
      : table.rows.slice(0, 50).some(row => typeof row[i] === 'number'));
    const copy = h('button.copy', {onclick: e => copyText(this.csv(), e.target)}, 'Copy CSV');
    this.head = h('tr');
    this.rows = h('tbody');
    this.element = h('section.table', h('header', h('h3', shown(table.title || '')),
        h('span.count', this.size()), copy),
      h('div.scroll', h('table', h('thead', this.head), this.rows)),
      noteList(table.notes));
    this.paintHead();
    this.paint();
  }

  size() {
    const n = this.table.rows.length, total = this.table.rows_total;
    return total ? `the first ${plainNumber(n)} of ${plainNumber(total)} rows` : n === 1 ? '1 row' : `${plainNumber(n)} rows`;
  }

  /** As shown, in its order, with the interval of each row. */
  csv() {
    const {columns, rows, intervals_us: intervals} = this.table;
    if (!intervals) return csv(columns, this.order.map(i => rows[i]));
    return csv([...columns, {key: 'from_us'}, {key: 'to_us'}],
        this.order.map(i => [...rows[i], ...intervals[i] || [null, null]]));
  }

  paintHead() {
    this.head.replaceChildren(...this.shown.map(i => {
      const column = this.table.columns[i];
      const sorted = this.by === i ? (this.down ? ' ↓' : ' ↑') : '';
      const order = this.by !== i ? 'none' : this.down ? 'descending' : 'ascending';
      return h(this.numeric[i] ? 'th.num' : 'th', {'aria-sort': order},
        h('button', {onclick: () => this.sort(i)}, ...titleOf(column), sorted));
    }));
  }

  sort(i) {
    this.down = this.by === i ? !this.down : this.numeric[i];
    this.by = i;
    const {rows} = this.table, sign = this.down ? -1 : 1;
    this.order.sort((a, b) => {
      const x = rows[a][i], y = rows[b][i];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;  // holes last, either way
      const c = typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y));
      return sign * c || a - b;
    });
    this.paintHead();
    this.paint();
  }

  paint() {
    const {columns, rows, intervals_us: intervals} = this.table, {actions} = this;
    const lines = this.order.slice(0, this.limit).map(k => {
      const row = rows[k], interval = intervals && actions.interval && intervals[k];
      const name = this.fullName >= 0 && actions.find ? row[this.fullName] : null;
      const go = actions.rank && columns[0].key === 'rank' ? () => actions.rank(row) : interval ? () => actions.interval(interval[0], interval[1]) : name ? () => actions.find(name) : null;
      const onkeydown = e => { if (e.key === 'Enter') go(); };
      const color = actions.color && actions.color(columns, row);
      const tip = (value, first) => first && name ? shown(name, 1500)
          : typeof value === 'string' && value.length > 40 ? shown(value, 1500) : '';
      return h(go ? 'tr.zooms' : 'tr', go && {tabIndex: 0, onclick: go, onkeydown},
        this.shown.map((i, at) => h(!this.numeric[i] ? 'td' : row[i] === 0 && columns[i].unit ? 'td.num.zero' : 'td.num', {title: tip(row[i], at === 0),
          ...i === this.sized && row[i] > 0 && {className: 'num sized', style: {'--share': (row[i] / this.most).toFixed(4)}}},
          at === 0 && color && h('i.dot', {style: {background: color}}), cellText(row[i], this.digits[i]))));
    });
    if (this.order.length > this.limit) {
      lines.push(h('tr', h('td.more', {colSpan: columns.length}, h('button',
          {onclick: () => { this.limit *= 10; this.paint(); }},
        `Show more of ${plainNumber(this.order.length)} rows`))));
    }
    this.rows.replaceChildren(...lines);
  }
}

/** A heat map: the darker the larger. Of a large one the first columns and rows, until asked for more. */
function heatMap(grid, onInterval, columnsMax = GRID_AT_ONCE, rowsMax = GRID_AT_ONCE) {
  const value = cell => cell !== null && typeof cell === 'object' ? cell.value : cell, neutral = grid.neutral || 0;
  let most = neutral + 1e-12;
  for (const row of grid.cells) for (const cell of row) if (value(cell) > most) most = value(cell);
  const cellOf = (cell, r, c) => {
    const v = value(cell), zooms = cell !== null && typeof cell === 'object' && Number.isFinite(cell.start_us);
    const share = Number.isFinite(v) ? Math.max(0, v - neutral) / (most - neutral) : 0,
        where = `${shown(grid.rows[r] ?? '')} · ${shown(grid.columns[c] ?? '')}`;
    return h(zooms ? 'td.zooms' : v === 0 ? 'td.zero' : 'td', {
      style: {'--share': share.toFixed(3)}, title: Number.isFinite(v) ? `${where}: ${cellText(v, 3)} ${unitText(grid.unit)}` : where,
      onclick: zooms ? () => onInterval(cell.start_us, cell.end_us) : null,
    }, Number.isFinite(v) ? cellText(v, digits) : '');
  };
  const digits = most < 10 ? 3 : most < 100 ? 1 : 0, columns = grid.columns.slice(0, columnsMax);
  const body = grid.cells.slice(0, rowsMax).map((cells, r) => h('tr', h('th', {scope: 'row'}, shown(grid.rows[r] ?? '', 80)),
    cells.slice(0, columnsMax).map((cell, c) => cellOf(cell, r, c))));
  const columnsTotal = grid.columns_total ?? grid.columns.length;
  const cut = grid.columns.length > columnsMax || grid.rows.length > rowsMax;
  const section = h('section.heat', h('header', h('h3', shown(grid.title || '')), h('span.count', unitText(grid.unit),
    columns.length < columnsTotal && ` · the first ${columns.length} of ${plainNumber(columnsTotal)} columns`),
  cut && h('button.copy', {onclick: () => section.replaceWith(heatMap(grid, onInterval, 8 * columnsMax, 8 * rowsMax))},
      'Show more')),
  h('div.scroll', h('table', h('thead', h('tr', h('th'), columns.map(c => h('th', shown(c, 80))))), h('tbody', body))));
  return section;
}
