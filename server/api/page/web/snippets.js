// The request that the page sends, as commands for a terminal and for Python.
import { storedKey, urlOf } from "./api.js";
import { h, replace } from "./dom.js";

/** A command for a POSIX shell. */
export function curl(path, body) {
  const json = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  const key = storedKey() ? ` \\\n  -H "Authorization: Bearer $API_KEY"` : "";
  const stream = body.stream ? " -N" : "";
  return `curl${stream} ${urlOf(path)}${key} \\\n  -H "Content-Type: application/json" \\\n  -d '${json}'`;
}

/** A program for Python's standard library, with OpenAI's client where it has the endpoint. */
export function python(path, body) {
  const call = CALLS[path];
  return call ? withOpenAI(call, body) : withUrllib(path, body);
}

const CALLS = { "/v3/chat/completions": "chat.completions.create", "/v3/embeddings": "embeddings.create" };
// What OpenAI's client does not know by name.
const EXTRA = ["top_k", "min_p", "repetition_penalty"];

function withOpenAI(call, body) {
  const named = Object.entries(body).filter(([name]) => !EXTRA.includes(name));
  const extra = Object.entries(body).filter(([name]) => EXTRA.includes(name));
  const members = named.map(([name, value]) => `    ${name}=${literal(value, 1)},`);
  if (extra.length) members.push(`    extra_body=${literal(Object.fromEntries(extra), 1)},`);
  const key = storedKey() ? `os.environ["API_KEY"]` : `"unused"`;
  const read = body.stream
    ? `for chunk in answer:\n    if chunk.choices:\n        print(chunk.choices[0].delta.content or "", end="")`
    : "print(answer)";
  return `${storedKey() ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url=${literal(urlOf("/v3"))}, api_key=${key})
answer = client.${call}(
${members.join("\n")}
)
${read}`;
}

function withUrllib(path, body) {
  const key = storedKey() ? `, "Authorization": f"Bearer {os.environ['API_KEY']}"` : "";
  return `import json
${storedKey() ? "import os\n" : ""}import urllib.request

body = ${literal(body)}
request = urllib.request.Request(
    ${literal(urlOf(path))},
    json.dumps(body).encode(),
    {"Content-Type": "application/json"${key}},
)
with urllib.request.urlopen(request) as answer:
    print(json.load(answer))`;
}

/** A JSON value as Python writes it. */
function literal(value, depth = 0) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const pad = "    ".repeat(depth + 1);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const members = Array.isArray(value)
    ? value.map((item) => literal(item, depth + 1))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${literal(item, depth + 1)}`);
  const line = `${open}${members.join(", ")}${close}`;
  if (line.length < 70 && !line.includes("\n")) return line;
  return `${open}\n${members.map((member) => `${pad}${member},\n`).join("")}${"    ".repeat(depth)}${close}`;
}

/** A folded part of a panel with both; `show(path, body)` fills it. */
export class SnippetView {
  constructor() {
    this.content = h("div", {});
    this.element = h("details", { class: "snippets" }, h("summary", {}, "This request as curl and Python"), this.content);
    this.request = null;
    this.element.addEventListener("toggle", () => this.#fill());
  }

  show(path, body) {
    this.request = [path, body];
    this.#fill();
  }

  #fill() {
    // Long conversations are long snippets.
    if (!this.element.open || !this.request) return;
    const block = (name, text) =>
      h("section", {}, h("div", { class: "bar" }, h("h3", {}, name), copyButton(text, name)), h("pre", { tabindex: "0" }, text));
    replace(this.content, block("curl", curl(...this.request)), block("Python", python(...this.request)));
  }
}

/** Browsers have a clipboard only on https and localhost. */
function copyButton(text, name) {
  if (!navigator.clipboard) return null;
  const button = h("button", { type: "button", "aria-label": `Copy ${name}`, onclick: copy }, "Copy");
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }
  return button;
}
