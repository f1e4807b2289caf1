// Small parts that several panels show.
import { h, replace, setText } from "./dom.js";
import { NOTHING, percent } from "./format.js";

/** The state of a model as a word with a colour. */
export function stateBadge(model) {
  return h("span", { class: `badge ${model.stateKind}` }, model.stateText);
}

/** A share as a bar with its number; nothing where there is none. */
export function meter(share, label) {
  if (share === undefined || share === null) return h("span", {}, NOTHING);
  const bar = h("meter", { min: 0, max: 1, value: share, "aria-label": label });
  return h("span", { class: "share" }, bar, h("span", {}, percent(share)));
}

/** A list of names and values, as `[name, value]`; names without a value are left out. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return h("dl", { class: "facts" }, shown.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** Large numbers side by side; `update` writes new ones into the same elements. */
export class Tiles {
  constructor(names) {
    this.values = names.map(() => h("dd", {}, NOTHING));
    this.element = h("dl", { class: "tiles" }, names.map((name, at) => h("div", {}, h("dt", {}, name), this.values[at])));
  }

  update(texts) {
    texts.forEach((text, at) => setText(this.values[at], text));
  }
}

/** A table of texts. */
export function table(titles, rows, label) {
  return h(
    "table",
    { class: "rows", "aria-label": label },
    h("thead", {}, h("tr", {}, titles.map((title) => h("th", { scope: "col" }, title)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, at) => h("td", { "data-title": titles[at] }, cell))))),
  );
}

/** Replace what an element shows only where the data differ: a selection in it survives. */
export function renderWhenChanged(element, data, render) {
  const text = JSON.stringify(data) ?? "";
  if (element.renderedText === text) return;
  element.renderedText = text;
  replace(element, render());
}
