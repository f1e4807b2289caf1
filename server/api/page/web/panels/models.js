// All models with their states, one row each.
import { h, replace, setText } from "../dom.js";
import { NOTHING, bytes, count, duration, number, percent } from "../format.js";
import { meter, stateBadge } from "../widgets.js";

const FILTER_FROM = 9;
const COLUMNS = ["Model", "State", "Task", "Running", "Waiting", "Tokens/s", "First token", "KV cache"];

export class ModelsPanel {
  constructor() {
    this.filter = h("input", { type: "search", "aria-label": "Filter models", placeholder: "Filter", oninput: () => this.#draw() });
    this.facts = h("p", { class: "quiet" });
    this.lost = h("p", { class: "notice bad", role: "status", hidden: true });
    this.body = h("tbody", {});
    this.table = h(
      "table",
      { class: "rows models" },
      h("thead", {}, h("tr", {}, COLUMNS.map((title) => h("th", { scope: "col" }, title)))),
      this.body,
    );
    this.note = h("p", { class: "empty" });
    this.element = h(
      "div",
      { class: "panel" },
      h("div", { class: "head" }, h("h1", {}, "Models"), this.facts, this.filter),
      this.lost,
      h("div", { class: "card flush" }, this.table, this.note),
    );
    this.rows = new Map();
    this.snapshot = null;
  }

  show() {}

  update(snapshot) {
    this.snapshot = snapshot;
    this.#draw();
  }

  #draw() {
    // What needs somebody comes first.
    const models = (this.snapshot?.models ?? []).toSorted((a, b) => (b.stateKind === "bad") - (a.stateKind === "bad"));
    const wanted = this.filter.value.trim().toLowerCase();
    const shown = models.filter((model) => `${model.label} ${model.task ?? ""} ${model.stateText}`.toLowerCase().includes(wanted));
    this.filter.hidden = models.length < FILTER_FROM;
    setText(this.facts, this.snapshot ? serverFacts(this.snapshot) : "");
    const lost = this.snapshot?.lostReplicas ?? [];
    this.lost.hidden = lost.length === 0;
    setText(this.lost, lost.map(({ replica, problem }) => `Replica ${replica} does not answer: ${problem}`).join("\n"));
    this.table.hidden = shown.length === 0;
    this.note.hidden = shown.length > 0;
    setText(this.note, whyEmpty(this.snapshot, models, wanted));
    // A row stays the same element: the focus in it stays where it is.
    const rows = shown.map((model) => this.#row(model));
    if (rows.length !== this.body.childElementCount || rows.some((row, at) => row !== this.body.children[at])) replace(this.body, rows);
  }

  #row(model) {
    const row = this.rows.get(model.label) ?? h("tr", {});
    this.rows.set(model.label, row);
    const cells = [
      [model.label],
      [model.stateText, model.reason],
      [model.task ?? NOTHING],
      [number(model.running)],
      [number(model.waiting)],
      [number(model.tokensPerSecond)],
      [duration(model.ttft)],
      [percent(model.kvUse)],
    ];
    const text = JSON.stringify(cells);
    if (row.dataset.text === text) return row;
    row.dataset.text = text;
    const hadFocus = row.contains(document.activeElement);
    const link = h("a", { href: `#/model/${encodeURIComponent(model.label)}` }, model.label);
    replace(
      row,
      h("th", { scope: "row" }, link),
      h("td", { "data-title": "State" }, stateBadge(model), model.reason && h("p", { class: "reason" }, model.reason)),
      cells.slice(2, -1).map(([value], at) => h("td", { "data-title": COLUMNS[at + 2], class: classOf(value, at > 0) }, value)),
      h("td", { "data-title": "KV cache", class: classOf(cells.at(-1)[0], true) }, meter(model.kvUse, `KV cache of ${model.label}`)),
    );
    if (hadFocus) link.focus();
    return row;
  }
}

/** Narrow screens leave out cells without a value. */
function classOf(text, isFigure) {
  return [isFigure && "figure", text === NOTHING && "none"].filter(Boolean).join(" ") || null;
}

function whyEmpty(snapshot, models, wanted) {
  if (!snapshot) return "Asking the server …";
  if (!models.length) return "No model is configured. Add one to config.json, or start the server with --model_path.";
  return `No model matches “${wanted}”.`;
}

function serverFacts({ models, version, uptimeSeconds, memoryBytes, numFailed }) {
  const serving = models.filter((model) => model.isServing).length;
  const parts = [`${serving} of ${count(models.length, "model")} can serve`];
  if (numFailed) parts.push(`${numFailed} failed`);
  if (version) parts.push(`version ${version}`);
  if (uptimeSeconds !== undefined) parts.push(`up ${duration(uptimeSeconds)}`);
  if (memoryBytes) parts.push(`${bytes(memoryBytes)} of memory`);
  return parts.join(" · ");
}
