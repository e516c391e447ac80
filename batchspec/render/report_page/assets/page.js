"use strict";
/* Fills the places of the page when it is loaded. */

/** Each node is a row, in the order of the first task: its allocation, start task and tasks. */
function nodeBars(tasks, run) {
  const rowOf = new Map(), first = new Map();
  for (let i = 0; i < tasks.count; i++) {
    if (!Number.isFinite(tasks.started[i])) continue;
    const node = tasks.node[i], at = first.get(node);
    if (at === undefined || tasks.started[i] < at) first.set(node, tasks.started[i]);
  }
  const used = [...first.keys()].sort((a, b) => first.get(a) - first.get(b));
  used.forEach((node, row) => rowOf.set(tasks.nodes[node], row));
  for (const node of run.nodes) if (!rowOf.has(node.id)) rowOf.set(node.id, rowOf.size);
  const known = new Map(run.nodes.map((node) => [node.id, node]));
  const labels = [...rowOf.keys()].map((id) => known.has(id) ? known.get(id).label : id);
  const row = [], from = [], to = [], color = [], item = [];
  const add = (at, begin, end, paint, what) => {
    row.push(at);
    from.push(begin);
    to.push(Math.max(end, begin));
    color.push(paint);
    item.push(what);
  };
  let last = 0;
  for (let i = 0; i < tasks.count; i++) {
    if (Number.isFinite(tasks.ended[i]) && tasks.ended[i] > last) last = tasks.ended[i];
  }
  const paints = { succeeded: "good", failed: "bad" };
  for (let i = 0; i < tasks.count; i++) {
    if (!Number.isFinite(tasks.started[i])) continue;
    const end = Number.isFinite(tasks.ended[i]) ? tasks.ended[i] : last;
    add(rowOf.get(tasks.nodes[tasks.node[i]]), tasks.started[i], end,
      paints[tasks.states[tasks.state[i]]] || "busy", i);
  }
  for (const node of run.nodes) {
    if (node.start !== null) {
      add(rowOf.get(node.id), node.start, node.started === null ? node.seen : node.started,
        node.failed ? "bad" : "warn", node);
    }
  }
  const order = Uint32Array.from({ length: row.length }, (_, i) => i)
    .sort((a, b) => row[a] - row[b] || from[a] - from[b]);
  const bars = lanesOf(row.length, row, from, to, color, order);
  bars.what = bars.item.map((i) => item[i]);
  return { bars, labels };
}

function showTimeline(tasks, run, table, full) {
  const { bars, labels } = nodeBars(tasks, run);
  if (!bars.count) return null;
  const chart = new Chart("timeline", Math.min(Math.max(labels.length * 22 + 50, 140), 560));
  chart.full = full;
  const text = (at) => {
    const what = bars.what[at], took = duration(bars.to[at] - bars.from[at]);
    const label = labels[bars.row[at]];
    if (typeof what !== "number") return `start task: ${took}\n${label}`;
    return `${tasks.id[what]}: ${table.state(what)}, ${took}\n${label}`;
  };
  const choose = (at) => typeof bars.what[at] === "number" && table.reveal(bars.what[at]);
  barChart(chart, bars, labels, text, choose, rangeButtons(run, () => [chart, chart.linked]));
  return chart;
}

/** A button for each attempt, if there are several. */
function rangeButtons(run, charts) {
  if (run.attempts.length < 2) return [];
  return run.attempts.map((attempt, at) => element("button", { type: "button", onclick: () => {
    for (const chart of charts()) if (chart) chart.range(attempt.begin, attempt.end);
  } }, `Attempt ${at + 1}`));
}

function showConcurrency(tasks, run, full) {
  const chart = new Chart("concurrency", 240);
  chart.full = full;
  const finite = (values) => Float64Array.from(values).filter(Number.isFinite).sort();
  const created = finite(tasks.created), started = finite(tasks.started);
  // A task that never started waits until its job ends.
  const left = finite(tasks.started.map((at, i) =>
    Number.isFinite(at) ? at : run.jobs[tasks.jobs[tasks.job[i]]] ?? NaN));
  const ended = finite(tasks.ended);
  const points = run.attempts.flatMap((attempt) => attempt.points);
  const series = (min, max) => {
    if (!started.length) {
      return [points.map((p) => p[0]), points.map((p) => p[1]), points.map((p) => p[2])];
    }
    return joined(levels(min, max, started, ended), levels(min, max, created, left));
  };
  let drawn = [0, 0];
  chart.show((width, palette) => ({
    options: {
      scales: { x: { time: false, range: (_, min, max) => [min, max] },
        y: { range: upTo }, waiting: { range: upTo } },
      // Many tasks can wait for few slots: each curve has its own axis.
      axes: [timeAxis(palette), countAxis(palette, { stroke: palette.busy }),
        countAxis(palette, { stroke: palette.warn, scale: "waiting", side: 1,
          grid: { show: false } })],
      series: [{}, { label: "running", stroke: palette.busy, fill: palette.busy + "40", width: 2,
        paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } },
      { label: "waiting", scale: "waiting", stroke: palette.warn, width: 2, dash: [6, 4],
        paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } }],
      cursor: { drag: { x: true, y: false }, y: false, points: { show: false } },
      hooks: {
        setScale: [(u, key) => {
          if (key !== "x") return;
          const { min, max } = u.scales.x;
          if (min !== drawn[0] || max !== drawn[1]) {
            drawn = [min, max];
            queueMicrotask(() => chart.plot === u && u.batch(() => {
              u.setData(series(min, max), false);
              u.setScale("x", { min, max });
            }));
          }
          if (chart.onrange) chart.onrange(u);
        }],
        setCursor: [(u) => {
          const at = u.cursor.idx;
          const value = (k) => u.data[k] && at !== null && at !== undefined ? u.data[k][at] : null;
          if (value(0) === null) return chart.showTip("");
          return chart.showTip(`${duration(value(0))}\nrunning ${number(value(1))}\n` +
            `waiting ${number(value(2))}`, u.cursor.left, u.cursor.top);
        }],
      },
    },
    data: series(...full),
  }), [key("busy", "running"), key("warn", "waiting (right axis)")]);
  return chart;
}

/** Two stepped curves over the moments of both. */
function joined([atA, a], [atB, b]) {
  const at = [], first = [], second = [];
  let i = 0, j = 0;
  while (i < atA.length || j < atB.length) {
    const now = Math.min(i < atA.length ? atA[i] : Infinity, j < atB.length ? atB[j] : Infinity);
    while (i < atA.length && atA[i] <= now) i++;
    while (j < atB.length && atB[j] <= now) j++;
    at.push(now);
    first.push(a[Math.max(i - 1, 0)]);
    second.push(Math.max(b[Math.max(j - 1, 0)], 0));
  }
  return [at, first, second];
}

function key(kind, text) {
  return element("span", { class: "key" }, element("i", { class: kind }), text);
}

/** The two charts over time show the same range. */
function link(one, other) {
  if (!one || !other) return;
  let busy = false;
  for (const [from, to] of [[one, other], [other, one]]) {
    from.linked = to;
    from.onrange = (u) => {
      const { min, max } = u.scales.x, scale = to.plot && to.plot.scales.x;
      if (busy || !scale || (scale.min === min && scale.max === max)) return;
      busy = true;
      queueMicrotask(() => {
        to.plot.setScale("x", { min, max });
        queueMicrotask(() => { busy = false; });
      });
    };
  }
}

/** How many durations lie between the edges; on a logarithmic scale if they differ much. */
function histogram(values) {
  const sorted = Float64Array.from(values).filter(Number.isFinite).sort();
  const low = Math.max(sorted[0], 0.001), high = Math.max(sorted[sorted.length - 1], low * 1.0001);
  const bins = Math.min(40, Math.max(8, Math.ceil(Math.sqrt(sorted.length))));
  const steep = high / low > 10;
  const edge = (k) => steep ? low * (high / low) ** (k / bins) : low + (high - low) * k / bins;
  const counts = new Array(bins).fill(0);
  for (const value of sorted) {
    const share = steep ? Math.log(Math.max(value, low) / low) / Math.log(high / low)
      : (value - low) / (high - low);
    counts[Math.min(Math.max(Math.floor(share * bins), 0), bins - 1)]++;
  }
  return { bins, edge, counts };
}

function showDurations(tasks) {
  const chart = new Chart("durations", 220);
  chart.full = null;
  let stage = "";
  const choice = element("select", { id: "durations-stage", onchange: (event) => {
    stage = event.target.value;
    chart.draw();
  } }, element("option", { value: "" }, "all stages"),
  ...tasks.stages.filter(Boolean).map((name) => element("option", { value: name }, name)));
  const label = element("label", { for: "durations-stage" }, "Stage ", choice);
  chart.show((width, palette) => {
    const wanted = tasks.stages.indexOf(stage);
    const chosen = stage ? tasks.took.filter((_, i) => tasks.stage[i] === wanted) : tasks.took;
    const { bins, edge, counts } = histogram(chosen);
    const xs = counts.map((_, k) => k + 0.5);
    return {
      options: {
        scales: { x: { time: false, range: [0, bins] },
          y: { range: upTo } },
        axes: [axis(palette, { space: 70, incrs: [1, 2, 5, 10, 20],
          values: (_, splits) => splits.map((k) => duration(edge(k))) }), countAxis(palette)],
        series: [{}, { stroke: palette.busy, fill: palette.busy + "80", width: 1,
          paths: uPlot.paths.bars({ size: [0.9, 100], align: 0 }), points: { show: false } }],
        cursor: { drag: { x: false, y: false }, y: false, points: { show: false } },
        hooks: { setCursor: [(u) => {
          const k = u.cursor.idx;
          if (k === null || k === undefined || u.cursor.left < 0) return chart.showTip("");
          return chart.showTip(`${duration(edge(k))} to ${duration(edge(k + 1))}\n` +
            `${number(counts[k])} tasks`, u.cursor.left, u.cursor.top);
        }] },
      },
      data: [xs, counts],
    };
  }, tasks.stages.filter(Boolean).length > 1 ? [label] : []);
}

function showSteps(run) {
  if (!document.getElementById("steps-chart")) return;
  const row = [], from = [], to = [], color = [], labels = [];
  const paints = { done: "good", failed: "bad", skipped: "wait", running: "busy" };
  for (const attempt of run.attempts) {
    for (const [name, state, begin, end] of attempt.steps) {
      if (!labels.includes(name)) labels.push(name);
      row.push(labels.indexOf(name));
      from.push(begin);
      to.push(end);
      color.push(paints[state] || "busy");
    }
  }
  const order = Uint32Array.from({ length: row.length }, (_, i) => i)
    .sort((a, b) => row[a] - row[b] || from[a] - from[b]);
  const bars = lanesOf(row.length, row, from, to, color, order);
  const chart = new Chart("steps", labels.length * 22 + 50);
  const end = Math.max(...run.attempts.map((attempt) => attempt.end), 0.1);
  chart.full = [0, end];
  barChart(chart, bars, labels, (at) =>
    `${labels[bars.row[at]]}: ${duration(bars.to[at] - bars.from[at])}`, null,
  rangeButtons(run, () => [chart]));
}

function copyable() {
  if (!navigator.clipboard) return;
  document.addEventListener("click", (event) => {
    const code = event.target.closest && event.target.closest("code.command");
    if (!code || String(getSelection())) return;
    navigator.clipboard.writeText(code.textContent).then(() => {
      code.classList.add("copied");
      setTimeout(() => code.classList.remove("copied"), 1200);
    }, () => undefined);
  });
}

async function showPage() {
  const run = JSON.parse(document.getElementById("run").textContent);
  copyable();
  showSteps(run);
  if (typeof DecompressionStream === "undefined") {
    const place = document.getElementById("tasks");
    if (place) place.append(element("p", {}, "This browser cannot read the data of the tasks."));
    return;
  }
  const tasks = taskColumns(JSON.parse(await unpacked("packed")));
  let end = Math.max(...run.attempts.map((attempt) => attempt.end), 0.1), begin = 0;
  for (let i = 0; i < tasks.count; i++) {
    if (tasks.ended[i] > end) end = tasks.ended[i];
    if (tasks.created[i] < begin) begin = tasks.created[i];
  }
  const full = [begin, end], place = document.getElementById("tasks-table");
  const table = place ? new TaskTable(place, tasks, run) : null;
  const has = (name) => document.getElementById(name + "-chart");
  const timeline = has("timeline") ? showTimeline(tasks, run, table, full) : null;
  const concurrency = has("concurrency") ? showConcurrency(tasks, run, full) : null;
  link(timeline, concurrency);
  if (has("durations")) showDurations(tasks);
  let width = document.documentElement.clientWidth;
  addEventListener("resize", () => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    clearTimeout(showPage.timer);
    showPage.timer = setTimeout(redraw, 100);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  const printing = (on) => () => {
    document.documentElement.classList.toggle("print", on);
    redraw();
  };
  addEventListener("beforeprint", printing(true));
  addEventListener("afterprint", printing(false));
  document.documentElement.dataset.ready = String(tasks.count);
}

showPage();
