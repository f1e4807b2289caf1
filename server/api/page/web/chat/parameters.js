// The parameters of a request; a field that is empty is not sent.
import { field, h } from "../dom.js";

const NUMBERS = [
  ["temperature", "Temperature", { min: 0, max: 2, step: 0.1, placeholder: "default" }],
  ["top_p", "Top p", { min: 0, max: 1, step: 0.05, placeholder: "default" }],
  ["top_k", "Top k", { min: -1, step: 1, placeholder: "default" }],
  ["max_completion_tokens", "Most tokens", { min: 1, step: 1, placeholder: "all that fit" }],
  ["seed", "Seed", { step: 1, placeholder: "random" }],
];

/** The form beside the conversation. */
export class Parameters {
  constructor() {
    this.system = h("textarea", { rows: 3, placeholder: "You are …", name: "system" });
    this.numbers = NUMBERS.map(([name, label, attributes]) => [
      name,
      h("input", { type: "number", inputmode: "decimal", name, ...attributes }),
      label,
    ]);
    this.effort = h(
      "select",
      { name: "reasoning_effort" },
      [["", "default"], ["none"], ["low"], ["medium"], ["high"]].map(([value, label]) => h("option", { value }, label ?? value)),
    );
    this.stopTexts = h("input", { name: "stop", placeholder: "none", autocomplete: "off" });
    this.tools = h("textarea", { rows: 4, class: "mono", name: "tools", spellcheck: "false", placeholder: TOOLS_EXAMPLE });
    this.element = h(
      "div",
      { class: "parameters" },
      field("System prompt", this.system),
      h("div", { class: "numbers" }, this.numbers.map(([, input, label]) => field(label, input)), field("Reasoning effort", this.effort)),
      field("Stop text", this.stopTexts),
      field("Tools (JSON list)", this.tools, "Calls are shown; you write their results."),
    );
  }

  /** The members for the body of a request. Throws Error with a sentence for people. */
  read() {
    const body = {};
    for (const [name, input, label] of this.numbers) {
      if (input.validity.badInput) throw new Error(`${label} is not a number.`);
      if (input.value !== "") body[name] = Number(input.value);
    }
    if (this.effort.value) body.reasoning_effort = this.effort.value;
    if (this.stopTexts.value) body.stop = [this.stopTexts.value];
    if (this.tools.value.trim()) body.tools = readTools(this.tools.value);
    return body;
  }

  /** The messages that come first. */
  firstMessages() {
    const content = this.system.value.trim();
    return content ? [{ role: "system", content }] : [];
  }
}

const TOOLS_EXAMPLE = `[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]`;

function readTools(text) {
  let tools;
  try {
    tools = JSON.parse(text);
  } catch (error) {
    throw new Error(`Tools are not JSON: ${error.message}`);
  }
  if (!Array.isArray(tools)) throw new Error("Tools must be a JSON list.");
  return tools;
}
