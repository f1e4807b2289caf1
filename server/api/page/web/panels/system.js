// The machine, what the server tuned on it and why, and what is wrong with the configuration.
import { requestJson } from "../api.js";
import { h, replace, setText } from "../dom.js";
import { count } from "../format.js";
import { facts, renderWhenChanged, table } from "../widgets.js";

export class SystemPanel {
  constructor() {
    this.machine = h("div", {});
    // A region that scrolls can be reached with the keyboard.
    this.tuning = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Tuning" });
    this.findings = h("div", { role: "status" });
    this.button = h("button", { type: "button", onclick: () => this.#check() }, "Check now");
    this.element = h(
      "div",
      { class: "panel" },
      h("h1", {}, "System"),
      h("section", { class: "card", "aria-label": "Machine" }, h("h2", {}, "Machine"), this.machine),
      h("section", { class: "card", "aria-label": "Tuning" }, h("h2", {}, "What was tuned, and why"), this.tuning),
      h(
        "section",
        { class: "card", "aria-label": "Check" },
        h("div", { class: "head" }, h("h2", {}, "Check of the configuration"), this.button),
        h("p", { class: "quiet" }, "Reads config.json, the graphs and the models' files as they are now on disk, like server --check. Nothing is loaded or changed."),
        this.findings,
      ),
    );
  }

  show() {}

  update(snapshot) {
    renderWhenChanged(this.machine, snapshot?.machineFacts ?? null, () =>
      snapshot ? facts(snapshot.machineFacts) : h("p", { class: "empty" }, "Asking the server …"),
    );
    const rows = snapshot?.models.flatMap((model) => model.tuning.map((row) => [model.label, ...row])) ?? [];
    renderWhenChanged(this.tuning, [rows, snapshot !== null], () =>
      rows.length
        ? table(["Model", "Setting", "Value", "Why"], rows, "Tuning")
        : h("p", { class: "empty" }, snapshot ? "Nothing was tuned: no model with an engine is loaded, or --no_auto_tune is given." : "Asking the server …"),
    );
  }

  async #check() {
    this.button.disabled = true;
    replace(this.findings, h("p", { class: "quiet" }, "Checking …"));
    try {
      const { models } = await requestJson("/v1/config/check", { method: "POST" });
      replace(this.findings, findingsOf(Object.entries(models)));
    } catch (error) {
      replace(this.findings, h("p", { class: "error" }, error.message));
    }
    this.button.disabled = false;
    if (document.activeElement === document.body) this.button.focus();
    setText(this.button, "Check again");
  }
}

function findingsOf(models) {
  const bad = models.filter(([, problem]) => problem !== null);
  const summary = `${count(models.length, "model")} checked, ${bad.length ? `${bad.length} with problems` : "no problem found"}.`;
  const items = models.map(([label, problem]) =>
    h("li", {}, h("strong", {}, label), " ", problem === null ? h("span", { class: "badge good" }, "ok") : h("pre", { class: "finding", tabindex: "0" }, problem)),
  );
  return [h("p", {}, summary), h("ul", { class: "plain" }, items)];
}
