// One model: its graph as it is configured, with what runs through it now.
import { h, replace, setText } from "../dom.js";
import { duration, number, percent } from "../format.js";
import { GraphDrawing } from "../graph/drawing.js";
import { exampleOf } from "../examples.js";
import { SnippetView } from "../snippets.js";
import { Tiles, facts, renderWhenChanged, stateBadge, table } from "../widgets.js";

export class ModelPanel {
  constructor(live) {
    this.live = live;
    this.title = h("h1", {}, "Model");
    this.badge = h("span", {});
    this.links = h("p", { class: "links" });
    this.reason = h("p", { class: "notice bad", hidden: true });
    this.note = h("p", { class: "empty", hidden: true });
    this.tiles = new Tiles(["Running", "Waiting", "Tokens/s", "First token", "Between tokens", "KV cache", "Prefix hits"]);
    this.drawing = new GraphDrawing();
    this.graphNote = h("p", { class: "empty" });
    this.graphCard = h("section", { class: "card", "aria-label": "Graph" }, h("h2", {}, "Graph"), this.graphNote, this.drawing.element, legend());
    this.nodes = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Numbers of the nodes" });
    this.options = h("div", {});
    this.tuning = h("div", {});
    this.nodesCard = h("section", { class: "card", "aria-label": "Nodes" }, h("h2", {}, "Nodes"), this.nodes, this.options);
    this.tuningCard = h("section", { class: "card", "aria-label": "Engine" }, h("h2", {}, "Engine"), this.tuning);
    this.snippets = new SnippetView();
    this.snippetCard = h("section", { class: "card", "aria-label": "Request" }, this.snippets.element);
    this.cards = [this.tiles.element, this.graphCard, this.tuningCard, this.nodesCard, this.snippetCard];
    this.element = h(
      "div",
      { class: "panel" },
      h("p", {}, h("a", { href: "#/models" }, "All models")),
      h("div", { class: "head" }, this.title, this.badge, this.links),
      this.reason,
      this.note,
      this.cards,
    );
  }

  show(label) {
    this.label = label;
    setText(this.title, label || "Model");
  }

  update(snapshot) {
    const model = snapshot?.models.find((one) => one.label === this.label);
    this.note.hidden = model !== undefined;
    setText(this.note, snapshot ? `There is no model “${this.label}” now.` : "Asking the server …");
    for (const card of this.cards) card.hidden = !model;
    this.badge.hidden = this.links.hidden = !model;
    this.reason.hidden = !model?.reason;
    setText(this.reason, model?.reason ?? "");
    if (!model) return;
    renderWhenChanged(this.badge, [model.stateText, model.stateKind], () => stateBadge(model));
    renderWhenChanged(this.links, [model.label, model.serves, model.isServing], () => linksOf(model));
    this.#showFigures(model);
    this.#showGraph(model);
    const example = exampleOf(model);
    this.snippetCard.hidden = !example;
    if (example && this.exampleName !== model.label) this.snippets.show(...example);
    this.exampleName = model.label;
  }

  #showFigures(model) {
    this.tiles.element.hidden = !model.history;
    this.tiles.update([
      number(model.running),
      number(model.waiting),
      number(model.tokensPerSecond),
      duration(model.ttft),
      duration(model.itl),
      percent(model.kvUse),
      percent(model.prefixHits),
    ]);
    this.tuningCard.hidden = model.engineFacts.length === 0;
    renderWhenChanged(this.tuning, model.engineFacts, () => facts(model.engineFacts));
  }

  #showGraph(model) {
    const { graph } = model;
    this.drawing.element.hidden = !graph;
    this.graphNote.hidden = Boolean(graph);
    setText(this.graphNote, model.reason ? "The graph could not be loaded." : "The graph is not loaded.");
    this.nodesCard.hidden = !graph;
    if (!graph) return;
    this.drawing.show(graph);
    const nodes = graph.nodes.filter((node) => !node.isBorder);
    const rows = nodes.map((node) => [
      node.title,
      node.calculator,
      number(node.inFlight),
      number(node.calls),
      number(node.errors),
      duration(node.meanSeconds),
    ]);
    renderWhenChanged(this.nodes, rows, () =>
      table(["Node", "Calculator", "At work", "Calls", "Errors", "Mean time"], rows, "Nodes"),
    );
    const options = nodes.filter((node) => node.options && Object.keys(node.options).length);
    renderWhenChanged(this.options, options.map((node) => [node.title, node.options]), () =>
      options.map((node) => h("details", {}, h("summary", {}, `Options of ${node.title}`), facts(Object.entries(node.options).map(([name, value]) => [name, h("code", {}, textOf(value))])))),
    );
  }
}

function textOf(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function linksOf(model) {
  const name = encodeURIComponent(model.name);
  const links = [];
  if (!model.isServing) return links;
  if (model.serves.includes("chat")) links.push(h("a", { href: `#/chat/${name}` }, "Chat with it"));
  if (model.serves.some((what) => what === "embeddings" || what === "rerank")) links.push(h("a", { href: `#/tryout/${name}` }, "Try it out"));
  if (model.history) links.push(h("a", { href: `#/load/${encodeURIComponent(model.label)}` }, "Charts"));
  return links;
}

function legend() {
  return h(
    "p",
    { class: "legend" },
    h("span", { class: "key stream" }, "stream"),
    h("span", { class: "key side" }, "side packet, made once at load"),
    h("span", { class: "key busy" }, "in use now"),
  );
}
