'use strict';
// Text and elements. Names of traces are strangers' text: they become elements only through
// textContent, after shown() has made what would reorder or hide their neighbours visible.

/** h('div.row.wide', {title: 'x', onclick: f}, 'text', child, ...) */
function h(what, ...rest) {
  const [tag, ...classes] = what.split('.');
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(' ');
  for (const part of rest) {
    if (part === null || part === undefined || part === false) continue;
    if (Array.isArray(part)) element.append(...part.filter(p => p !== null && p !== undefined && p !== false));
    else if (part instanceof Node || typeof part !== 'object') element.append(part);
    else setProperties(element, part);
  }
  return element;
}

function setProperties(element, properties) {
  for (const [key, value] of Object.entries(properties)) {
    if (key === 'style') for (const [name, v] of Object.entries(value)) element.style.setProperty(name, v);
    else if (key.startsWith('on') || key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
}

const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** A name as it can stand beside others: controls and direction marks as \u202e, at most `max` long. */
function shown(text, max = 4000) {
  const cut = text.length > max ? text.slice(0, max) + '…' : text;
  return cut.replace(HIDDEN, c => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));
}

/** Kernel names start with "void" and end in a page of template arguments and parameters. */
function shortName(text) {
  let name = shown(text, 600).replace(/^(void|static|auto|int|float) /, '');
  if (name.length > 24) {
    const at = name.search(/[<(]/);
    if (at > 3) name = name.slice(0, at);
    const path = name.split('::').filter(p => p && p !== '(anonymous namespace)');
    if (path.length > 1) name = path[path.length - 1];
  }
  return name;
}

const group = new Intl.NumberFormat('en-US', {maximumFractionDigits: 3});
const plainNumber = (value, digits = 3) => Number.isFinite(value)
  ? value.toLocaleString('en-US', {maximumFractionDigits: digits}) : String(value);

function significant(value) {
  const digits = Math.abs(value) >= 10 ? 2 : 3;
  return Number.isInteger(value) ? String(value) : value.toFixed(digits);
}

/** Nanoseconds in the unit that suits them: "1.758 ms". */
function time(ns) {
  const size = Math.abs(ns);
  if (size < 1e3) return plainNumber(ns, 0) + ' ns';
  if (size < 1e6) return significant(ns / 1e3) + ' µs';
  if (size < 1e9) return significant(ns / 1e6) + ' ms';
  return significant(ns / 1e9) + ' s';
}

const exactUs = ns => group.format(ns / 1000) + ' µs';
const percent = (part, whole, digits = 1) => whole > 0 ? (100 * part / whole).toFixed(digits) + '%' : '–';

function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; n >= 1024 && i < 4; ++i) n /= 1024;
  return significant(n) + ' ' + units[i];
}

const clamp = (x, low, high) => Math.max(low, Math.min(high, x));
const $ = id => document.getElementById(id);
