// Tries embeddings and reranking.
import { requestJson } from "../api.js";
import { field, h, replace, setOptions, setText } from "../dom.js";
import { number } from "../format.js";
import { SnippetView } from "../snippets.js";
import { meter, table } from "../widgets.js";

const MOST_SHOWN = 12;

export class TryoutPanel {
  constructor() {
    this.parts = [new EmbeddingsPart(), new RerankPart()];
    this.note = h("p", { class: "empty" });
    this.element = h("div", { class: "panel" }, h("h1", {}, "Try out"), this.note, h("div", { class: "columns" }, this.parts.map((part) => part.element)));
  }

  show(name) {
    this.wanted = name || this.wanted;
  }

  update(snapshot) {
    for (const part of this.parts) {
      const names = snapshot?.namesFor(part.kind) ?? [];
      part.setNames(names);
      if (names.includes(this.wanted)) part.model.value = this.wanted;
    }
    if (snapshot) this.wanted = null;
    this.note.hidden = this.parts.some((part) => !part.element.hidden);
    setText(this.note, snapshot ? "No model for embeddings or reranking can serve now." : "Asking the server …");
  }
}

/** A form, its answer, and its request as code. */
class Part {
  constructor(kind, title, path, fields) {
    this.kind = kind;
    this.path = path;
    this.model = h("select", { name: "model" });
    this.button = h("button", { class: "primary" }, "Run");
    this.problem = h("p", { class: "error", role: "alert", hidden: true });
    this.result = h("div", { class: "result", role: "status" });
    this.snippets = new SnippetView();
    this.element = h(
      "section",
      { class: "card", "aria-label": title, hidden: true },
      h("h2", {}, title),
      h("form", { onsubmit: (event) => this.#submit(event) }, field("Model", this.model), fields, h("div", { class: "buttons" }, this.button)),
      this.problem,
      this.result,
      this.snippets.element,
    );
  }

  setNames(names) {
    this.element.hidden = names.length === 0;
    setOptions(this.model, names);
  }

  async #submit(event) {
    event.preventDefault();
    const body = { model: this.model.value, ...this.read() };
    this.snippets.show(this.path, body);
    this.button.disabled = true;
    this.problem.hidden = true;
    replace(this.result);
    try {
      const answer = await requestJson(this.path, { body });
      replace(this.result, this.render(answer, body));
    } catch (error) {
      this.problem.hidden = false;
      setText(this.problem, error.message);
    }
    this.button.disabled = false;
    // Disabling took the focus away.
    if (document.activeElement === document.body) this.button.focus();
  }
}

const linesOf = (area) => area.value.split("\n").map((line) => line.trim()).filter(Boolean);

class EmbeddingsPart extends Part {
  constructor() {
    const texts = h("textarea", { rows: 6, name: "texts" }, "A cat sleeps on the sofa.\nA kitten naps on the couch.\nThe stock market fell today.");
    super("embeddings", "Embeddings", "/v3/embeddings", field("Texts, one a line", texts));
    this.texts = texts;
  }

  read() {
    return { input: linesOf(this.texts) };
  }

  render(answer, { input }) {
    const vectors = answer.data.map((item) => item.embedding);
    const shown = vectors.slice(0, MOST_SHOWN);
    const rows = shown.map((vector, at) => [`${at + 1}`, ...shown.map((other) => similarityCell(vector, other))]);
    return [
      h("p", {}, `${number(vectors.length)} vectors of ${number(vectors[0].length)} numbers · ${number(answer.usage?.prompt_tokens)} tokens`),
      h("h3", {}, "Cosine similarity"),
      h("div", { class: "scroll matrix", tabindex: "0", role: "region", "aria-label": "Similarities" }, table(["", ...shown.map((_, at) => `${at + 1}`)], rows, "Cosine similarity")),
      h("ol", { class: "plain" }, input.slice(0, MOST_SHOWN).map((text, at) => h("li", {}, text, h("code", {}, ` [${vectors[at].slice(0, 4).map((value) => value.toFixed(3)).join(", ")}, …]`)))),
    ];
  }
}

function similarityCell(a, b) {
  const dot = (left, right) => left.reduce((sum, value, at) => sum + value * right[at], 0);
  const value = dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)) || 0;
  const cell = h("span", { class: "similarity" }, value.toFixed(2));
  cell.style.setProperty("--share", `${Math.max(0, value) * 45}%`);
  return cell;
}

class RerankPart extends Part {
  constructor() {
    const query = h("input", { name: "query", value: "What is the capital of France?" });
    const documents = h("textarea", { rows: 6, name: "documents" }, "Berlin is the capital of Germany.\nParis is the capital of France.\nFrance borders Spain.");
    super("rerank", "Rerank", "/v3/rerank", [field("Query", query), field("Documents, one a line", documents)]);
    this.query = query;
    this.documents = documents;
  }

  read() {
    return { query: this.query.value, documents: linesOf(this.documents) };
  }

  render(answer, { documents }) {
    const rows = answer.results.map(({ index, relevance_score: score }, at) => [
      `${at + 1}`,
      documents[index],
      h("span", { class: "score" }, score >= 0 && score <= 1 ? meter(score, `Score of document ${index + 1}`) : null, h("code", {}, score.toPrecision(3))),
    ]);
    return table(["Place", "Document", "Score"], rows, "Documents by relevance");
  }
}
