// The chat with any model that answers conversations.
import { Answer, PATH } from "../chat/answer.js";
import { Composer } from "../chat/composer.js";
import { AnswerView, toolMessage, userMessage } from "../chat/message_view.js";
import { Parameters } from "../chat/parameters.js";
import { ToolResults } from "../chat/tool_results.js";
import { field, h, replace, setOptions, setText } from "../dom.js";
import { SnippetView } from "../snippets.js";

const NEAR_END_PX = 80;

export class ChatPanel {
  constructor(live) {
    this.live = live;
    this.messages = [];
    this.answer = null;
    this.model = h("select", { name: "model", onchange: () => this.#offerPictures() });
    this.parameters = new Parameters();
    this.log = h("div", { class: "log", role: "log", "aria-label": "Conversation", tabindex: "0" });
    this.problem = h("p", { class: "error", role: "alert", hidden: true });
    this.composer = new Composer((text, images) => this.#send(text, images), () => this.answer?.stop());
    this.results = new ToolResults((results) => this.#sendResults(results));
    this.snippets = new SnippetView();
    this.empty = h("p", { class: "empty" });
    const fresh = h("button", { type: "button", onclick: () => this.#clear() }, "New chat");
    this.element = h(
      "div",
      { class: "chat" },
      h("div", { class: "head" }, h("h1", {}, "Chat"), fresh),
      h(
        "details",
        { class: "card settings", open: matchMedia("(min-width: 900px)").matches },
        h("summary", {}, "Model and parameters"),
        field("Model", this.model),
        this.parameters.element,
      ),
      h(
        "div",
        { class: "card talk" },
        this.empty,
        this.log,
        this.problem,
        this.results.element,
        this.composer.element,
        this.snippets.element,
      ),
    );
    this.log.addEventListener("drawn", () => this.#follow());
  }

  show(name) {
    this.wanted = name || this.wanted;
  }

  update(snapshot) {
    const names = snapshot?.namesFor("chat") ?? [];
    setOptions(this.model, names);
    if (this.wanted && names.includes(this.wanted)) {
      this.model.value = this.wanted;
      this.wanted = null;
    }
    const has = names.length > 0;
    setText(this.empty, has ? "Ask something. Enter sends, Shift and Enter starts a new line." : snapshot ? "No model that chats can serve now." : "The models are not known yet.");
    this.empty.hidden = has && this.log.childElementCount > 0;
    this.composer.setEnabled(has);
    this.#offerPictures();
  }

  #offerPictures() {
    this.composer.takesPictures(this.live.snapshot?.takesPictures(this.model.value) ?? false);
  }

  #clear() {
    this.answer?.stop();
    this.answer = null;
    this.composer.setBusy(false);
    this.messages = [];
    this.results.hide();
    this.#showProblem("");
    replace(this.log);
    this.update(this.live.snapshot);
    this.composer.focus();
  }

  #send(text, images) {
    const pictures = images.map((url) => ({ type: "image_url", image_url: { url } }));
    const content = images.length ? [{ type: "text", text }, ...pictures] : text;
    return this.#ask([{ role: "user", content }], [userMessage(text, images)]);
  }

  #sendResults(results) {
    const messages = results.map(({ id, text }) => ({ role: "tool", tool_call_id: id, content: text }));
    return this.#ask(messages, results.map(({ name, text }) => toolMessage(name, text)));
  }

  /** Ask with these further messages; false where the request cannot be made. */
  #ask(messages, views) {
    let parameters;
    try {
      parameters = this.parameters.read();
    } catch (error) {
      this.#showProblem(error.message);
      return false;
    }
    this.#showProblem("");
    this.results.hide();
    this.messages.push(...messages);
    const body = {
      model: this.model.value,
      messages: [...this.parameters.firstMessages(), ...this.messages],
      ...parameters,
      stream: true,
      stream_options: { include_usage: true },
    };
    this.log.append(...views);
    this.snippets.show(PATH, body);
    this.#run(body);
    return true;
  }

  async #run(body) {
    const answer = new Answer(() => view.update());
    const view = new AnswerView(body.model, answer);
    this.log.append(view.element);
    this.empty.hidden = true;
    this.log.scrollTop = this.log.scrollHeight;
    this.answer = answer;
    this.composer.setBusy(true);
    await answer.run(body);
    if (this.answer !== answer) return; // a new chat was begun
    this.answer = null;
    this.composer.setBusy(false);
    // What broke before its first token is asked again with the next message.
    if (answer.content || answer.toolCalls.length) this.messages.push(answer.message());
    if (answer.toolCalls.length && !answer.error && !answer.isStopped) this.results.ask(answer.toolCalls);
  }

  #showProblem(text) {
    this.problem.hidden = !text;
    setText(this.problem, text);
  }

  /** Keep the end in sight, unless the reader looks at something above. */
  #follow() {
    const { scrollTop, scrollHeight, clientHeight } = this.log;
    const grown = scrollHeight - (this.height ?? 0);
    if (scrollHeight - scrollTop - clientHeight < NEAR_END_PX + Math.max(0, grown)) this.log.scrollTop = scrollHeight;
    this.height = scrollHeight;
  }
}
