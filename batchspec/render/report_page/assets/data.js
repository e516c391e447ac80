"use strict";
/* The data of the page, and how numbers are written. */

const TASK_COLUMNS = ["id", "name", "stage", "state", "exit", "cause", "node", "job", "created",
  "started", "ended", "retries", "requeued", "superseded", "code", "message"];

/** The text of a data element that contains gzip in base64. */
async function unpacked(id) {
  const text = atob(document.getElementById(id).textContent.trim());
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

/** The tasks as columns; times in seconds since the run began, NaN where there is none. */
function taskColumns(data) {
  const rows = data.rows, count = rows.length, columns = { count };
  const times = new Set(["created", "started", "ended"]);
  TASK_COLUMNS.forEach((name, column) => {
    if (times.has(name)) {
      const values = new Float64Array(count);
      for (let i = 0; i < count; i++) {
        const at = rows[i][column];
        values[i] = at === null ? NaN : at / 1000;
      }
      columns[name] = values;
    } else {
      const values = new Array(count);
      for (let i = 0; i < count; i++) values[i] = rows[i][column];
      columns[name] = values;
    }
  });
  columns.took = new Float64Array(count);
  for (let i = 0; i < count; i++) columns.took[i] = columns.ended[i] - columns.started[i];
  for (const name of ["stages", "states", "causes", "nodes", "jobs", "codes", "messages"]) {
    columns[name] = data[name];
  }
  return columns;
}

/** A duration in two units at most: 0.4s, 42s, 3m 20s, 2h 05m, 3d 04h. */
function duration(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 0) return "-" + duration(-seconds);
  if (seconds < 9.95) return seconds.toFixed(1) + "s";
  const whole = Math.round(seconds), two = (n) => String(n).padStart(2, "0");
  if (whole < 60) return whole + "s";
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)}h ${two(minutes % 60)}m`;
  const hours = Math.floor(minutes / 60);
  return `${Math.floor(hours / 24)}d ${two(hours % 24)}h`;
}

/** A duration of an axis, without the parts that are zero: 0, 30s, 1m, 1h 30m; 0.05s. */
function tick(seconds) {
  if (seconds === 0) return "0";
  if (Math.abs(seconds) < 1 || seconds % 1) return +seconds.toPrecision(6) + "s";
  let rest = Math.abs(Math.round(seconds));
  const parts = [];
  for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]]) {
    if (rest >= length) parts.push(Math.floor(rest / length) + unit);
    rest %= length;
  }
  return (seconds < 0 ? "-" : "") + parts.join(" ");
}

const TICKS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120,
  300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800, 2592000];

/** A count with thousands separators. */
function number(count) {
  return count.toLocaleString("en-US");
}

/** A moment in UTC: 2026-01-02 03:04:05. */
function moment(began, seconds) {
  if (!Number.isFinite(seconds)) return "";
  return new Date((began + seconds) * 1000).toISOString().replace("T", " ").slice(0, 19);
}

/** An element with attributes and children; texts become text nodes, never markup. */
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) {
      made.setAttribute(key, value);
    }
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}
