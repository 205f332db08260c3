'use strict';
// Colours. A bar's colour is an index into one palette, so that theme and meaning stay apart: classes,
// phases (forward orange, backward green, as in DeepSeek's own pictures) and hashed names.

const THEMES = {
  light: {
    classes: ['#4c7ff0', '#a467d8', '#8a94a6', '#d39be4'],
    phases: ['#f0994a', '#f6c595', '#4fae7b', '#a5d6b9', '#3ba3c6', '#a6d5e4', '#98a1b0', '#c3c9d2'],
    host: ['#7aa7c7', '#d8a25a', '#8fb59a', '#a7a3c9', '#b4b9c2'],
    ink: '#1c1e22', muted: '#6c717a', faint: '#9aa0a9', idle: '#d5d7dc', line: '#e8e9ec', lineStrong: '#d5d7dc',
        panel: '#ffffff',
    exposed: '#e5484d', accent: '#5e6ad2', area: '#7c93c9', queue: '#8b8f98', shade: 'rgba(20,24,36,.05)',
    busy: '#c3cddf', hidden: '#d6c3ea',
  },
  dark: {
    classes: ['#5b8cff', '#b07ce6', '#737d8f', '#8f64ad'],
    phases: ['#e8924a', '#8f5f35', '#46a374', '#2c6549', '#3593b5', '#27586c', '#7c8696', '#4d5562'],
    host: ['#5d8aa8', '#b5833f', '#6f9a7c', '#8480b0', '#6b717c'],
    ink: '#e8e9ec', muted: '#8d939e', faint: '#666c77', idle: '#454b57', line: '#22252b', lineStrong: '#30343c',
        panel: '#131519',
    exposed: '#f2555a', accent: '#7d88f0', area: '#5f76b0', queue: '#7d828c', shade: 'rgba(255,255,255,.045)',
    busy: '#39445a', hidden: '#54406b',
  },
};

// Index ranges of the palette.
const OF_CLASS = 0, OF_PHASE = 4, OF_HOST = 12, OF_NAME = 17, NAME_COLORS = 24;

function hsl(hue, saturation, light) {
  const a = saturation * Math.min(light, 1 - light);
  const channel = n => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (light - a * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [channel(0), channel(8), channel(4)];
}

const rgbOf = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));

/** The theme with its palette as [r, g, b], and for each entry whether text on it is dark. */
function makeTheme(name) {
  const theme = {name, ...THEMES[name]};
  const dark = name === 'dark';
  theme.palette = [...theme.classes, ...theme.phases, ...theme.host].map(rgbOf);
  for (let i = 0; i < NAME_COLORS; ++i) {
    const hue = i * 137.5 % 360;
    theme.palette.push(hsl(hue, dark ? 0.38 : 0.52, (dark ? 0.52 : 0.64) + (i % 3) * 0.04));
  }
  theme.darkText = theme.palette.map(([r, g, b]) => 0.299 * r + 0.587 * g + 0.114 * b > (dark ? 118 : 128));
  theme.css = theme.palette.map(([r, g, b]) => `rgb(${r},${g},${b})`);
  return theme;
}

/** 0 forward, 1 backward, 2 weight gradient, 3 none of them: what a region's name says. */
function phaseOf(name) {
  if (/\(F\)|forward|\bfwd\b/i.test(name)) return 0;
  if (/\(B\)|backward|\bbwd\b/i.test(name)) return 1;
  if (/\(W\)|wgrad|weight.?grad/i.test(name)) return 2;
  return 3;
}

// Categories in the order of trace.h, as the five colours of host bars.
const HOST_COLOR = [4, 0, 1, 1, 0, 0, 0, 2, 2, 3, 3, 3, 4, 4, 3, 4, 4];
const CATEGORY = ['other', 'cpu_op', 'user_annotation', 'gpu_user_annotation', 'kernel', 'gpu_memcpy', 'gpu_memset',
  'cuda_runtime', 'cuda_driver', 'cuda_sync', 'cuda_event', 'python_function', 'cpu_instant_event', 'overhead',
  'collective_comm', 'hardware_counter', 'Trace'];
const CLASS = ['compute', 'communication', 'memory'], ROLE = ['', 'transfer', 'barrier', 'layout'];

function hashColor(text) {
  let hash = 2166136261;
  for (let i = 0; i < text.length && i < 256; ++i) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619);
  return (hash >>> 8) % NAME_COLORS;
}
