// How the messages of a conversation look.
import { h, replace, setText } from "../dom.js";
import { duration, number } from "../format.js";
import { markdown } from "../markdown.js";

const SHORTEST_S = 0.05;
const WHY_ENDED = { length: "cut at the most tokens", content_filter: "filtered" };

/** What the user wrote, with the pictures that went along. */
export function userMessage(text, images) {
  return h(
    "article",
    { class: "message user", "aria-label": "You" },
    h("h2", {}, "You"),
    h("div", { class: "text" }, text),
    images.length > 0 && h("div", { class: "pictures" }, images.map((src, at) => h("img", { src, alt: `Picture ${at + 1}` }))),
  );
}

/** The result of a tool that the user gave. */
export function toolMessage(name, text) {
  return h(
    "article",
    { class: "message tool", "aria-label": `Result of ${name}` },
    h("h2", {}, `Result of ${name}`),
    h("pre", { tabindex: "0" }, text),
  );
}

/** An answer that grows; `update` shows what an Answer has by now. */
export class AnswerView {
  constructor(model, answer) {
    this.answer = answer;
    this.thoughts = h("div", { class: "text" });
    this.reasoning = h("details", { class: "reasoning", hidden: true }, h("summary", {}, "Reasoning"), this.thoughts);
    this.text = h("div", { class: "text markdown" });
    this.calls = h("div", { class: "calls" });
    this.error = h("p", { class: "error", hidden: true });
    this.footer = h("p", { class: "facts" }, "Waiting for the first token");
    this.element = h(
      "article",
      { class: "message answer", "aria-label": `Answer of ${model}`, "aria-busy": "true" },
      h("h2", {}, model),
      this.reasoning,
      this.text,
      this.calls,
      this.error,
      this.footer,
    );
    this.frame = null;
  }

  /** Once per picture of the screen, however fast the chunks come. */
  update() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.#draw();
    });
  }

  #draw() {
    const { answer } = this;
    this.reasoning.hidden = !answer.reasoning;
    setText(this.thoughts, answer.reasoning);
    const isThinking = answer.reasoning && !answer.content && !answer.isDone;
    setText(this.reasoning.firstChild, isThinking ? "Reasoning …" : "Reasoning");
    replace(this.text, markdown(answer.content));
    replace(this.calls, answer.toolCalls.map(callView));
    this.error.hidden = !answer.error;
    setText(this.error, answer.error ?? "");
    setText(this.footer, facts(answer));
    if (answer.isDone) this.element.removeAttribute("aria-busy");
    this.element.dispatchEvent(new Event("drawn", { bubbles: true }));
  }
}

function callView(call) {
  return h(
    "section",
    { class: "call", "aria-label": `Call of ${call.name}` },
    h("h3", {}, "Calls ", h("code", {}, call.name)),
    h("pre", { tabindex: "0" }, pretty(call.text)),
  );
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // it has not ended, or is no JSON
  }
}

function facts(answer) {
  if (answer.firstTokenMs === null && !answer.isDone) return "Waiting for the first token";
  const parts = [];
  const { usage } = answer;
  if (answer.isStopped) parts.push("stopped");
  else if (WHY_ENDED[answer.finishReason]) parts.push(WHY_ENDED[answer.finishReason]);
  if (answer.firstTokenMs !== null) parts.push(`first token after ${duration(answer.firstTokenMs / 1000)}`);
  if (usage && answer.isDone) {
    const cached = usage.prompt_tokens_details?.cached_tokens;
    parts.push(`${number(usage.prompt_tokens)} tokens in${cached ? ` (${number(cached)} cached)` : ""}`);
    parts.push(`${number(usage.completion_tokens)} out`);
    const seconds = answer.seconds - (answer.firstTokenMs ?? 0) / 1000;
    // Tokens that came all at once have no rate.
    if (usage.completion_tokens > 1 && seconds > SHORTEST_S) parts.push(`${number((usage.completion_tokens - 1) / seconds)} tokens/s`);
  }
  return parts.join(" · ");
}
