'use strict';
// Tables that sort and copy, and heat maps: the generic content of the analyses' tabs.

const ROWS_AT_ONCE = 200, GRID_AT_ONCE = 60;

function cellText(value, digits = 3) {
  if (value === null || value === undefined) return '–';
  return typeof value === 'number' ? plainNumber(value, digits) : shown(String(value));
}

const unitText = unit => unit === 'us' ? 'µs' : shown(unit || '');

/** A column's title and its unit, once. */
function titleOf({title, key, unit}) {
  const text = shown(title ?? key ?? '');
  return [unit && text.endsWith(' ' + unit) ? text.slice(0, -unit.length - 1) : text, unit && h('em',
      ` ${unitText(unit)}`)].filter(Boolean);
}

/** Notes of the analyses are sentences without their frame. */
function sentence(text) {
  const clean = shown(text);
  return clean.charAt(0).toUpperCase() + clean.slice(1) + (/[.:!?]$/.test(clean) ? '' : '.');
}

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
    one with a full name is, color(columns, row) for the dot before its first cell; all may be missing. */
class Table {
  constructor(table, actions = {}) {
    this.table = table;
    this.actions = actions;
    this.fullName = table.columns.findIndex(c => c.key === 'full_name');
    this.shown = table.columns.map((_, i) => i).filter(i => i !== this.fullName);
    this.order = Array.from(table.rows.keys());
    this.limit = ROWS_AT_ONCE;
    this.numeric = table.columns.map((column, i) => column.align ? column.align === 'right'
      : table.rows.slice(0, 50).some(row => typeof row[i] === 'number'));
    const copy = h('button.copy', {onclick: e => copyText(this.csv(), e.target)}, 'Copy CSV');
    this.head = h('tr');
    this.rows = h('tbody');
    this.element = h('section.table', h('header', h('h3', shown(table.title || '')),
        h('span.count', this.size()), copy),
      h('div.scroll', h('table', h('thead', this.head), this.rows)),
      (table.notes || []).map(note => h('p.note', sentence(note))));
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
    const digits = columns.map((_, i) => rows.some(r => typeof r[i] === 'number' && !Number.isInteger(r[i])) ? 3 : 0);
    const lines = this.order.slice(0, this.limit).map(k => {
      const row = rows[k], interval = intervals && actions.interval && intervals[k];
      const name = this.fullName >= 0 && actions.find ? row[this.fullName] : null;
      const go = interval ? () => actions.interval(interval[0], interval[1]) : name ? () => actions.find(name) : null;
      const onkeydown = e => { if (e.key === 'Enter') go(); };
      const color = actions.color && actions.color(columns, row);
      const tip = (value, first) => first && name ? shown(name, 1500)
          : typeof value === 'string' && value.length > 40 ? shown(value, 1500) : '';
      return h(go ? 'tr.zooms' : 'tr', go && {tabIndex: 0, onclick: go, onkeydown},
        this.shown.map((i, at) => h(this.numeric[i] ? 'td.num' : 'td', {title: tip(row[i], at === 0)},
          at === 0 && color && h('i.dot', {style: {background: color}}), cellText(row[i], digits[i]))));
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
    return h(zooms ? 'td.zooms' : 'td', {
      style: {'--share': share.toFixed(3)}, title: `${where}: ${cellText(v)} ${unitText(grid.unit)}`,
      onclick: zooms ? () => onInterval(cell.start_us, cell.end_us) : null,
    }, Number.isFinite(v) ? plainNumber(v, Math.abs(v) < 10 ? 2 : 0) : '');
  };
  const columns = grid.columns.slice(0, columnsMax);
  const body = grid.cells.slice(0, rowsMax).map((cells, r) => h('tr', h('th', {scope: 'row'}, shown(grid.rows[r] ?? '', 80)),
    cells.slice(0, columnsMax).map((cell, c) => cellOf(cell, r, c))));
  const cut = grid.columns.length > columnsMax || grid.rows.length > rowsMax;
  const section = h('section.heat', h('header', h('h3', shown(grid.title || '')), h('span.count', unitText(grid.unit),
    cut && ` · the first ${columns.length} of ${plainNumber(grid.columns.length)} columns`),
  cut && h('button.copy', {onclick: () => section.replaceWith(heatMap(grid, onInterval, 8 * columnsMax, 8 * rowsMax))},
      'Show more')),
  h('div.scroll', h('table', h('thead', h('tr', h('th'), columns.map(c => h('th', shown(c, 80))))), h('tbody', body))));
  return section;
}
