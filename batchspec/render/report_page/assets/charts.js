"use strict";
/* The charts, all drawn by uPlot; bars of tasks and steps are drawn on its canvas. */

/** The colours of the style sheet, which differ in dark mode and in print. */
function colors() {
  const style = getComputedStyle(document.documentElement);
  const found = {};
  for (const name of ["ink", "paper", "dim", "line", "good", "bad", "busy", "wait", "warn"]) {
    found[name] = style.getPropertyValue("--" + name).trim();
  }
  return found;
}

const CHARTS = [];

/** Draw a chart in its place with buttons for the zoom, and again when size or colours change. */
class Chart {
  constructor(key, height) {
    this.figure = document.getElementById(key + "-chart");
    this.height = height;
    this.plot = null;
    this.full = [0, 1];
    this.rows = null;
    CHARTS.push(this);
  }

  /** Fill the place: `build` returns the options and data of uPlot for a width and colours. */
  show(build, controls) {
    this.build = build;
    this.place = element("div", { class: "plot", tabindex: "0", role: "group",
      "aria-roledescription": "chart", "aria-label": this.figure.dataset.label +
      ". Arrow keys move, plus and minus zoom, 0 shows everything. A table follows.",
      onkeydown: (event) => this.key(event) });
    const button = (label, text, act) => element("button",
      { type: "button", title: label, "aria-label": label, onclick: act }, text);
    this.tip = element("div", { class: "tip", hidden: true });
    this.figure.append(
      element("div", { class: "controls" }, ...(controls || []),
        ...(this.full ? [
          button("Zoom in", "+", () => this.zoom(0.5)),
          button("Zoom out", "\u2212", () => this.zoom(2)),
          button("Earlier", "\u2190", () => this.pan(-0.25)),
          button("Later", "\u2192", () => this.pan(0.25)),
          button("Show everything", "All", () => this.reset())] : [])),
      this.place, this.tip);
    this.figure.hidden = false;
    this.draw();
  }

  draw() {
    if (!this.build) return;
    const kept = this.plot && this.full ? [this.plot.scales.x.min, this.plot.scales.x.max] : null;
    const keptRows = this.plot && this.rows ? [this.plot.scales.y.min, this.plot.scales.y.max] : null;
    if (this.plot) this.plot.destroy();
    const width = Math.max(this.figure.clientWidth, 200);
    const { options, data } = this.build(width, colors());
    this.plot = new uPlot({ width, height: this.height, legend: { show: false }, ...options },
      data, this.place);
    this.plot.root.querySelectorAll("canvas").forEach((canvas) => {
      canvas.setAttribute("aria-hidden", "true");
    });
    if (this.full) this.wheel();
    if (kept && (kept[0] > this.full[0] || kept[1] < this.full[1])) this.range(kept[0], kept[1]);
    if (keptRows) this.plot.setScale("y", { min: keptRows[0], max: keptRows[1] });
  }

  range(min, max) {
    const [low, high] = this.full;
    const length = Math.min(Math.max(max - min, (high - low) / 1e6), high - low);
    const from = Math.min(Math.max(min, low), high - length);
    this.plot.setScale("x", { min: from, max: from + length });
  }

  zoom(factor, share = 0.5) {
    const { min, max } = this.plot.scales.x;
    const at = min + (max - min) * share, length = (max - min) * factor;
    this.range(at - length * share, at + length * (1 - share));
  }

  pan(share) {
    const { min, max } = this.plot.scales.x;
    const by = (max - min) * share;
    this.range(min + by, max + by);
  }

  panRows(share) {
    if (!this.rows) return;
    const { min, max } = this.plot.scales.y, length = max - min;
    const from = Math.min(Math.max(min + length * share, 0), this.rows - length);
    this.plot.setScale("y", { min: from, max: from + length });
  }

  reset() {
    this.plot.setScale("x", { min: this.full[0], max: this.full[1] });
    if (this.rows) this.plot.setScale("y", { min: 0, max: this.rows });
  }

  key(event) {
    if (!this.full || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2),
      ArrowLeft: () => this.pan(-0.25), ArrowRight: () => this.pan(0.25),
      ArrowUp: () => this.panRows(0.25), ArrowDown: () => this.panRows(-0.25),
      0: () => this.reset() }[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  }

  /** Ctrl and the wheel zoom at the pointer, Shift and the wheel move; a drag selects a range. */
  wheel() {
    const over = this.plot.over;
    over.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return;
      event.preventDefault();
      const by = event.deltaY || event.deltaX;
      if (event.shiftKey) this.pan(Math.sign(by) * 0.1);
      else this.zoom(by > 0 ? 1.25 : 0.8, (event.clientX - over.getBoundingClientRect().left) /
        over.clientWidth);
    }, { passive: false });
    over.addEventListener("dblclick", () => this.reset());
  }

  showTip(text, left, top) {
    this.tip.hidden = !text;
    if (!text) return;
    this.tip.textContent = text;
    const box = this.plot.over.getBoundingClientRect(), figure = this.figure.getBoundingClientRect();
    const x = Math.min(box.left - figure.left + left + 12, figure.width - this.tip.offsetWidth - 4);
    this.tip.style.left = Math.max(x, 0) + "px";
    this.tip.style.top = box.top - figure.top + top + 14 + "px";
  }
}

function redraw() {
  CHARTS.forEach((chart) => chart.draw());
}

function axis(palette, more) {
  return { stroke: palette.dim, grid: { stroke: palette.line, width: 1 },
    ticks: { stroke: palette.line, width: 1 }, font: "12px system-ui, sans-serif", ...more };
}

function timeAxis(palette) {
  return axis(palette, { incrs: TICKS, space: 80, values: (_, splits) => splits.map(tick) });
}

/** An axis of counts, without fractions. */
function countAxis(palette, more) {
  const incrs = [];
  for (let ten = 1; ten < 1e9; ten *= 10) incrs.push(ten, 2 * ten, 5 * ten);
  return axis(palette, { size: 64, incrs, values: (_, splits) => splits.map(number), ...more });
}

/** The range of a scale of counts. */
function upTo(_, __, max) {
  return [0, Math.max(max, 1) * 1.05];
}

/**
 * Bars in rows over time. `bars` has columns `row`, `lane`, `lanes`, `from`, `to`, `color`, ordered
 * by row, lane and `from`; `labels` names the rows. `text(index)` describes a bar.
 */
function barChart(chart, bars, labels, text, choose, controls) {
  chart.rows = labels.length;
  const index = laneIndex(bars);
  const build = (width, palette) => {
    const gutter = Math.min(Math.max(...labels.map((label) => label.length), 4) * 7.3 + 20,
      width * 0.38);
    const room = Math.floor((gutter - 20) / 7.3);
    const short = (label) => label.length > room ? label.slice(0, room - 1) + "\u2026" : label;
    const options = {
      scales: { x: { time: false, range: (_, min, max) => [min, max] },
        y: { auto: false, range: (u, min, max) => rowRange(u, min, max, chart.rows) } },
      cursor: { drag: { x: true, y: chart.rows > 12, uni: 20 }, points: { show: false },
        y: false },
      axes: [timeAxis(palette), axis(palette, { size: gutter, grid: { show: false },
        splits: (u, _, min, max) => rowTicks(min, max, u.bbox.height / devicePixelRatio),
        values: (_, splits) => splits.map((at) =>
          short(labels[chart.rows - 1 - Math.floor(at)] || "")) })],
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: {
        draw: [(u) => drawBars(u, bars, index, chart.rows, palette)],
        setScale: [(u, key) => key === "x" && chart.onrange && chart.onrange(u)],
        setCursor: [(u) => {
          const found = barAt(u, bars, index, chart.rows);
          chart.found = found;
          chart.showTip(found === null ? "" : text(found), u.cursor.left, u.cursor.top);
        }],
      },
    };
    return { options, data: [chart.full, [0, chart.rows]] };
  };
  chart.show(build, controls);
  if (choose) {
    let pressed = 0;
    chart.place.addEventListener("mousedown", (event) => { pressed = event.clientX; }, true);
    chart.place.addEventListener("click", (event) => {
      if (chart.found !== null && Math.abs(event.clientX - pressed) < 4) choose(chart.found);
    });
  }
}

/** The rows in view: they stay when the range of time changes, whatever part of it is shown. */
function rowRange(u, min, max, rows) {
  if (min !== null) return [min, max];
  const { min: low, max: high } = u.scales.y;
  return low == null || high == null ? [0, rows] : [low, high];
}

function rowTicks(min, max, height) {
  const every = Math.max(1, Math.ceil((max - min) / Math.max(1, height / 16)));
  const ticks = [];
  for (let row = Math.max(0, Math.floor(min)); row < max; row += every) {
    if (row + 0.5 >= min && row + 0.5 <= max) ticks.push(row + 0.5);
  }
  return ticks;
}

/** The first bar of each lane, in order, and the end. */
function laneIndex(bars) {
  const starts = [];
  for (let i = 0; i < bars.count; i++) {
    if (i === 0 || bars.row[i] !== bars.row[i - 1] || bars.lane[i] !== bars.lane[i - 1]) {
      starts.push(i);
    }
  }
  starts.push(bars.count);
  return starts;
}

/** The first bar of a lane (from..to) that ends after a time. */
function firstAfter(bars, from, to, time) {
  let low = from, high = to;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (bars.to[middle] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

function drawBars(u, bars, index, rows, palette) {
  const { ctx, bbox } = u, { min, max } = u.scales.x, low = u.scales.y.min, high = u.scales.y.max;
  const perSecond = bbox.width / (max - min), perRow = bbox.height / (high - low);
  const right = bbox.left + bbox.width;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  const later = [];
  for (let lane = 0; lane + 1 < index.length; lane++) {
    const first = index[lane], row = rows - 1 - bars.row[first];
    if (row + 1 < low || row > high) continue;
    const height = perRow / bars.lanes[first];
    const gap = height > 6 ? Math.min(2, height * 0.15) : 0;
    const top = bbox.top + (high - row - 1) * perRow + bars.lane[first] * height + gap / 2;
    const tall = Math.max(height - gap, 1);
    let drawn = -1, color = "";
    for (let i = firstAfter(bars, first, index[lane + 1], min); i < index[lane + 1]; i++) {
      if (bars.from[i] > max) break;
      const x = bbox.left + (bars.from[i] - min) * perSecond;
      const end = Math.min(bbox.left + (bars.to[i] - min) * perSecond, right);
      const wide = Math.max(end - x - (end - x > 4 ? 1 : 0), 1);
      if (bars.color[i] === "bad") {
        later.push(x, top, Math.max(wide, 2), Math.max(tall, 2));
        continue;
      }
      // A bar in the same pixel as the one before would not be seen.
      if (x + wide <= drawn) continue;
      if (color !== bars.color[i]) ctx.fillStyle = palette[color = bars.color[i]];
      ctx.fillRect(x, top, wide, tall);
      drawn = Math.floor(x + wide);
    }
  }
  ctx.fillStyle = palette.bad;
  for (let i = 0; i < later.length; i += 4) {
    ctx.fillRect(later[i], later[i + 1], later[i + 2], later[i + 3]);
  }
  ctx.restore();
}

/** The bar under the pointer, or null. */
function barAt(u, bars, index, rows) {
  const { left, top } = u.cursor;
  if (left === undefined || left < 0 || top < 0) return null;
  const time = u.posToVal(left, "x"), at = rows - u.posToVal(top, "y");
  const near = (u.scales.x.max - u.scales.x.min) / u.over.clientWidth * 2;
  const row = Math.floor(at);
  let found = null, distance = near;
  for (let lane = 0; lane + 1 < index.length; lane++) {
    const first = index[lane];
    if (bars.row[first] !== row) continue;
    if (Math.floor((at - row) * bars.lanes[first]) !== bars.lane[first]) continue;
    for (let i = firstAfter(bars, first, index[lane + 1], time - near); i < index[lane + 1]; i++) {
      if (bars.from[i] > time + near) break;
      const off = Math.max(bars.from[i] - time, time - bars.to[i], 0);
      if (off <= distance && (found === null || off < distance)) {
        found = i;
        distance = off;
      }
    }
  }
  return found;
}

/** Bars without overlap: each gets a lane of its row. `order` lists the bars by row and start. */
function lanesOf(count, row, from, to, color, order) {
  const lane = new Uint16Array(count), most = new Map();
  let current = -1, ends = [];
  for (const i of order) {
    if (row[i] !== current) {
      current = row[i];
      ends = [];
    }
    let free = ends.findIndex((end) => end <= from[i]);
    if (free < 0) free = ends.length;
    ends[free] = to[i];
    lane[i] = free;
    most.set(row[i], Math.max(most.get(row[i]) || 1, free + 1));
  }
  const sorted = Array.from(order).sort((a, b) =>
    row[a] - row[b] || lane[a] - lane[b] || from[a] - from[b]);
  const take = (values) => sorted.map((i) => values[i]);
  return { count: sorted.length, item: sorted, row: take(row), lane: take(lane),
    lanes: sorted.map((i) => most.get(row[i])), from: take(from), to: take(to),
    color: take(color) };
}

/** Steps over time: how many of `starts` minus `ends` at each of at most 2,000 moments. */
function levels(min, max, ups, downs) {
  const most = 2000, at = [], value = [];
  let u = 0, d = 0;
  while (u < ups.length && ups[u] < min) u++;
  while (d < downs.length && downs[d] < min) d++;
  at.push(min);
  value.push(u - d);
  const width = (max - min) / most;
  for (let bucket = 0; bucket < most; bucket++) {
    const end = bucket === most - 1 ? max : min + (bucket + 1) * width;
    let peak = -1, peakAt = 0;
    while ((u < ups.length && ups[u] <= end) || (d < downs.length && downs[d] <= end)) {
      const up = u < ups.length ? ups[u] : Infinity, down = d < downs.length ? downs[d] : Infinity;
      const now = Math.min(up, down);
      if (down <= up) d++;
      else u++;
      if (u - d > peak) {
        peak = u - d;
        peakAt = now;
      }
    }
    if (peak < 0) continue;
    if (peak !== u - d) {
      at.push(Math.min(peakAt, end));
      value.push(peak);
    }
    at.push(end);
    value.push(u - d);
  }
  if (at[at.length - 1] < max) {
    at.push(max);
    value.push(u - d);
  }
  return [at, value];
}
