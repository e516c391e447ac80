"use strict";
/* The table of tasks: search, filters, order, pages, and the facts about one task. */

const PAGE_ROWS = 50;

class TaskTable {
  constructor(place, tasks, run) {
    this.place = place;
    this.tasks = tasks;
    this.run = run;
    this.page = 0;
    this.sort = { name: "started", up: true };
    this.open = null;
    this.shown = Uint32Array.from({ length: tasks.count }, (_, i) => i);
    this.labels = new Map(run.nodes.map((node) => [node.id, node.label]));
    this.columns = [
      { name: "id", title: "task", text: (i) => tasks.id[i], head: true },
      { name: "name", title: "inputs", text: (i) => tasks.name[i] },
      { name: "stage", title: "stage", text: (i) => tasks.stages[tasks.stage[i]] },
      { name: "state", title: "state", text: (i) => this.state(i) },
      { name: "exit", title: "exit code", text: (i) => tasks.exit[i] === null ? "" :
        String(tasks.exit[i]), value: (i) => tasks.exit[i] === null ? -Infinity : tasks.exit[i],
        number: true },
      { name: "started", title: "start", text: (i) => duration(tasks.started[i]),
        value: (i) => tasks.started[i], number: true },
      { name: "took", title: "duration", text: (i) => duration(tasks.took[i]),
        value: (i) => tasks.took[i], number: true },
      { name: "node", title: "node", text: (i) => this.node(i) },
      { name: "retries", title: "retries", text: (i) => String(tasks.retries[i]),
        value: (i) => tasks.retries[i], number: true },
    ];
    this.build();
    this.select();
  }

  state(i) {
    const { tasks } = this;
    const state = { active: "not started" }[tasks.states[tasks.state[i]]] ||
      tasks.states[tasks.state[i]];
    const cause = tasks.causes[tasks.cause[i]];
    return (cause ? `${state}: ${cause}` : state) + (tasks.superseded[i] ? " (run again)" : "");
  }

  node(i) {
    const id = this.tasks.nodes[this.tasks.node[i]];
    return this.labels.get(id) || id;
  }

  build() {
    const { tasks } = this;
    const later = () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.select(), 120);
    };
    this.query = element("input", { type: "search", id: "tasks-search", autocomplete: "off",
      placeholder: "id, input, node, cause", oninput: later });
    const choice = (id, texts, all) => element("select", { id, onchange: () => this.select() },
      element("option", { value: "" }, all),
      ...texts.filter((text) => text).sort().map((text) => element("option", { value: text }, text)));
    const states = new Set();
    for (let i = 0; i < tasks.count; i++) states.add(tasks.states[tasks.state[i]]);
    this.stateChoice = choice("tasks-state", [...states], "all states");
    this.stageChoice = choice("tasks-stage", tasks.stages, "all stages");
    this.again = element("input", { type: "checkbox", id: "tasks-again", checked: true,
      onchange: () => this.select() });
    const repeated = tasks.superseded.some((flag) => flag);
    const field = (label, input) => element("label", { for: input.id }, label + " ", input);
    this.body = element("tbody", {});
    this.heads = this.columns.map((column) => element("th", { scope: "col",
      class: column.number ? "number" : false },
      element("button", { type: "button", class: "sort", onclick: () => this.order(column) },
        column.title)));
    this.count = element("span", { role: "status" });
    this.before = element("button", { type: "button", onclick: () => this.turn(-1) }, "Previous");
    this.after = element("button", { type: "button", onclick: () => this.turn(1) }, "Next");
    this.place.append(
      element("div", { class: "controls", role: "search" }, field("Search", this.query),
        field("State", this.stateChoice),
        tasks.stages.length > 1 ? field("Stage", this.stageChoice) : null,
        repeated ? element("label", { for: "tasks-again" }, this.again, " executions that ran again")
          : null),
      element("div", { class: "scroll", role: "region", "aria-label": "Tasks", tabindex: "0" },
        element("table", { class: "tasks" }, element("caption", {}, "Tasks"),
          element("thead", {}, element("tr", {}, ...this.heads)), this.body)),
      element("div", { class: "controls" }, this.before, this.after, this.count));
    this.place.hidden = false;
  }

  /** What the search looks through, in lower case. */
  haystack() {
    if (!this.texts) {
      const { tasks } = this;
      this.texts = new Array(tasks.count);
      for (let i = 0; i < tasks.count; i++) {
        this.texts[i] = `${tasks.id[i]}\n${tasks.name[i]}\n${tasks.nodes[tasks.node[i]]}\n` +
          `${tasks.causes[tasks.cause[i]]}\n${tasks.messages[tasks.message[i]]}`;
        this.texts[i] = this.texts[i].toLowerCase();
      }
    }
    return this.texts;
  }

  select() {
    const { tasks } = this, words = this.query.value.toLowerCase().split(/\s+/).filter(Boolean);
    const state = tasks.states.indexOf(this.stateChoice.value);
    const stage = tasks.stages.indexOf(this.stageChoice.value);
    const anyState = !this.stateChoice.value, anyStage = !this.stageChoice.value;
    const again = this.again.checked, texts = words.length ? this.haystack() : null;
    const found = new Uint32Array(tasks.count);
    let count = 0;
    for (let i = 0; i < tasks.count; i++) {
      if (!anyState && tasks.state[i] !== state) continue;
      if (!anyStage && tasks.stage[i] !== stage) continue;
      if (!again && tasks.superseded[i]) continue;
      if (texts && !words.every((word) => texts[i].includes(word))) continue;
      found[count++] = i;
    }
    this.shown = found.subarray(0, count);
    this.arrange();
  }

  order(column) {
    const same = this.sort.name === column.name;
    this.sort = { name: column.name, up: same ? !this.sort.up : true };
    this.arrange();
  }

  arrange() {
    const { name, up } = this.sort, column = this.columns.find((one) => one.name === name);
    const sign = up ? 1 : -1;
    if (column.value) {
      const keys = new Float64Array(this.tasks.count);
      for (const i of this.shown) keys[i] = column.value(i);
      this.shown.sort((a, b) => {
        const x = keys[a], y = keys[b];
        // What has no value is last in both directions.
        if (x !== x || y !== y) return (x !== x) - (y !== y) || a - b;
        return sign * (x - y) || a - b;
      });
    } else {
      const keys = new Array(this.tasks.count);
      for (const i of this.shown) keys[i] = column.text(i);
      this.shown.sort((a, b) => sign * (keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : 0) || a - b);
    }
    this.columns.forEach((one, at) => {
      const sorted = one.name === name ? (up ? "ascending" : "descending") : "none";
      this.heads[at].setAttribute("aria-sort", sorted);
    });
    this.page = 0;
    this.draw();
  }

  turn(by) {
    this.page += by;
    this.draw();
  }

  draw() {
    const from = this.page * PAGE_ROWS, to = Math.min(from + PAGE_ROWS, this.shown.length);
    const rows = [];
    for (let at = from; at < to; at++) rows.push(...this.row(this.shown[at]));
    this.body.replaceChildren(...rows);
    this.before.disabled = this.page === 0;
    this.after.disabled = to >= this.shown.length;
    this.count.textContent = this.shown.length === 0 ? "no task" :
      `${number(from + 1)} to ${number(to)} of ${number(this.shown.length)} tasks`;
  }

  row(i) {
    const { tasks } = this, state = tasks.states[tasks.state[i]];
    const cells = this.columns.map((column) => {
      const kinds = [column.number ? "number" : "", column.name === "state" ? state : ""];
      const kind = kinds.filter(Boolean).join(" ") || false;
      if (!column.head) return element("td", { class: kind }, column.text(i));
      return element("th", { scope: "row" }, element("button", { type: "button", class: "row",
        "aria-expanded": String(this.open === i), onclick: () => this.toggle(i) }, column.text(i)));
    });
    const row = element("tr", { "data-task": tasks.id[i] }, ...cells);
    return this.open === i ? [row, element("tr", { class: "detail" },
      element("td", { colspan: this.columns.length }, ...this.detail(i)))] : [row];
  }

  toggle(i) {
    this.open = this.open === i ? null : i;
    this.draw();
    const row = this.body.querySelector(`[data-task="${CSS.escape(this.tasks.id[i])}"] button`);
    if (row) row.focus();
  }

  /** Show one task, as a click on its bar does. */
  reveal(i) {
    this.query.value = this.tasks.id[i];
    this.stateChoice.value = this.stageChoice.value = "";
    this.again.checked = true;
    this.open = i;
    this.select();
    this.place.scrollIntoView({ block: "nearest" });
  }

  detail(i) {
    const { tasks, run } = this, output = run.outputs[tasks.id[i]];
    const exact = (at) => Number.isFinite(at) ? `${moment(run.began, at)} UTC` : "";
    const facts = [
      ["job", tasks.jobs[tasks.job[i]]],
      ["node", tasks.nodes[tasks.node[i]]],
      ["created", exact(tasks.created[i])],
      ["started", exact(tasks.started[i])],
      ["ended", exact(tasks.ended[i])],
      ["waited", duration(tasks.started[i] - tasks.created[i])],
      ["requeued", tasks.requeued[i] ? String(tasks.requeued[i]) : ""],
      ["code", tasks.codes[tasks.code[i]]],
      ["message", tasks.messages[tasks.message[i]]],
    ];
    const list = element("dl", {});
    for (const [name, text] of facts) {
      if (text) list.append(element("dt", {}, name), element("dd", {}, text));
    }
    list.append(element("dt", {}, "log"), element("dd", {},
      element("code", { class: "command" }, run.logs.replace("@TASK@", tasks.id[i]))));
    return [list, output ? element("pre", { class: "output" }, output) : null].filter(Boolean);
  }
}
