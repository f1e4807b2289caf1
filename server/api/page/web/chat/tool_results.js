// Asks for the results of tool calls: the page runs no tools.
import { field, h, replace } from "../dom.js";

export class ToolResults {
  /** `onSend(results)` gets `{id, name, text}` of each call, and says whether they were taken. */
  constructor(onSend) {
    this.onSend = onSend;
    this.element = h("form", { class: "results", hidden: true, onsubmit: (event) => this.#submit(event) });
  }

  ask(calls) {
    this.calls = calls;
    this.inputs = calls.map(() => h("textarea", { rows: 2, class: "mono", spellcheck: "false" }));
    replace(
      this.element,
      calls.map((call, at) => field(`Result of ${call.name}`, this.inputs[at])),
      h("div", { class: "buttons" }, h("button", { class: "primary" }, "Send results")),
    );
    this.element.hidden = false;
    this.inputs[0].focus();
  }

  hide() {
    this.element.hidden = true;
  }

  #submit(event) {
    event.preventDefault();
    const results = this.calls.map(({ id, name }, at) => ({ id, name, text: this.inputs[at].value }));
    this.onSend(results);
  }
}
