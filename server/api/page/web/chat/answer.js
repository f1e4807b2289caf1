// One streamed answer of /v3/chat/completions, put together from its chunks.
import { ApiError, eventsOf, request } from "../api.js";

export const PATH = "/v3/chat/completions";

/** Sends a body and calls `onChange` as the answer grows; `stop` ends it where it is. */
export class Answer {
  content = "";
  reasoning = "";
  toolCalls = [];
  finishReason = null;
  usage = null;
  error = null;
  isStopped = false;
  isDone = false;
  firstTokenMs = null;
  #abort = new AbortController();
  #start = performance.now();

  constructor(onChange) {
    this.onChange = onChange;
  }

  async run(body) {
    try {
      const response = await request(PATH, { body, signal: this.#abort.signal });
      for await (const data of eventsOf(response)) {
        if (data === "[DONE]") break;
        this.#take(JSON.parse(data));
        this.onChange();
      }
      if (!this.finishReason && !this.error) this.error = "The answer broke off.";
    } catch (error) {
      if (error.name === "AbortError") this.isStopped = true;
      else this.error = error instanceof ApiError ? error.message : "The connection to the server broke.";
    }
    this.seconds = (performance.now() - this.#start) / 1000;
    this.isDone = true;
    this.onChange();
  }

  stop() {
    this.#abort.abort();
  }

  /** The message that the next request of the conversation repeats. */
  message() {
    const message = { role: "assistant", content: this.content };
    if (this.toolCalls.length) {
      message.tool_calls = this.toolCalls.map(({ id, name, text }) => ({
        id,
        type: "function",
        function: { name, arguments: text },
      }));
    }
    return message;
  }

  #take(chunk) {
    if (chunk.error) {
      this.error = String(chunk.error.message ?? chunk.error);
      return;
    }
    this.usage = chunk.usage ?? this.usage;
    const choice = chunk.choices?.[0];
    if (!choice) return;
    const { content, reasoning_content: reasoning, tool_calls: calls } = choice.delta ?? {};
    if (content || reasoning || calls) this.firstTokenMs ??= performance.now() - this.#start;
    this.content += content ?? "";
    this.reasoning += reasoning ?? "";
    for (const call of calls ?? []) this.#takeCall(call);
    this.finishReason = choice.finish_reason ?? this.finishReason;
  }

  #takeCall({ index = 0, id, function: called = {} }) {
    const call = (this.toolCalls[index] ??= { id: "", name: "", text: "" });
    call.id = id ?? call.id;
    call.name += called.name ?? "";
    call.text += called.arguments ?? "";
  }
}
