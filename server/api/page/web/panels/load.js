// Charts of the last hour, of one model or of all.
import { Chart } from "../charts.js";
import { field, h, setOptions, setText } from "../dom.js";
import { duration, number, percent } from "../format.js";
import { Tiles } from "../widgets.js";

const ALL = "all models";

export class LoadPanel {
  constructor(live) {
    this.model = h("select", { name: "model", onchange: () => this.update(live.snapshot) });
    this.note = h("p", { class: "empty", hidden: true });
    this.tiles = new Tiles(["Running", "Waiting", "Tokens/s", "First token", "Between tokens", "KV cache", "Prefix hits"]);
    this.charts = [
      new Chart("Tokens per second", [{ key: "tokensPerSecond" }], number, { least: 10 }),
      new Chart("Time to first token", [{ key: "ttft" }], duration, { least: 0.1 }),
      new Chart("Inter-token latency", [{ key: "itl" }], duration, { least: 0.02 }),
      new Chart("KV cache in use", [{ key: "kvUse" }], percent, { max: 1 }),
      new Chart("Prefix-cache hits", [{ key: "prefixHits" }], percent, { max: 1 }),
      new Chart("Requests", [{ key: "running", name: "running" }, { key: "waiting", name: "waiting" }], number, { least: 4 }),
    ];
    this.grid = h("div", { class: "charts" }, this.charts.map((chart) => chart.element));
    this.element = h(
      "div",
      { class: "panel" },
      h("div", { class: "head" }, h("h1", {}, "Load"), h("p", { class: "quiet" }, "The last hour"), field("Model", this.model)),
      this.tiles.element,
      this.note,
      this.grid,
    );
  }

  show(name) {
    this.wanted = name || this.wanted;
  }

  update(snapshot) {
    const engines = snapshot?.models.filter((model) => model.history) ?? [];
    setOptions(this.model, [...(engines.length > 1 ? [ALL] : []), ...engines.map((model) => model.label)]);
    if (this.wanted && engines.some((model) => model.label === this.wanted)) this.model.value = this.wanted;
    this.wanted = null;
    const hasEngine = engines.length > 0;
    this.note.hidden = hasEngine;
    this.grid.hidden = this.tiles.element.hidden = !hasEngine;
    setText(this.note, snapshot ? "No model that generates text is loaded." : "Asking the server …");
    if (!hasEngine) return;
    const shown = engines.find((model) => model.label === this.model.value) ?? snapshot.total;
    this.tiles.update([
      number(shown.running),
      number(shown.waiting),
      number(shown.tokensPerSecond),
      duration(shown.ttft),
      duration(shown.itl),
      percent(shown.kvUse),
      percent(shown.prefixHits),
    ]);
    for (const chart of this.charts) chart.update(shown.history);
  }
}
