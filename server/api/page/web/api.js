// Requests to the server that this page came from.

const KEY = "api_key";
let askForKey = null;
let asking = null;
let current = readKey();

/** What the server answered, or why it did not. `status` is 0 where there was no answer. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Have `ask(reason)` called when a key is needed; it returns a promise of whether there is one. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

/** The key of this tab; it is forgotten when the tab is closed. */
export function storedKey() {
  return current;
}

export function storeKey(key) {
  current = key;
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Storage is forbidden: the key lasts until the page is loaded again.
  }
}

function readKey() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/** The address of a path, also below a proxy's prefix. */
export function urlOf(path) {
  return new URL(path.replace(/^\//, ""), document.baseURI.split("#")[0]).href;
}

/** GET, or POST of a JSON body; returns the Response. Throws ApiError, or AbortError. */
export async function request(path, { body = null, method = body ? "POST" : "GET", signal = null } = {}) {
  for (;;) {
    const key = storedKey();
    const response = await send(path, method, body, signal, key);
    if (response.ok) return response;
    const message = await messageOf(response);
    if (response.status !== 401 || !askForKey) throw new ApiError(message, response.status);
    // Another request may have asked meanwhile.
    if (storedKey() !== key) continue;
    asking ??= askForKey(message).finally(() => (asking = null));
    if (!(await asking)) throw new ApiError(message, 401);
  }
}

/** The JSON of an answer. */
export async function requestJson(path, options) {
  return (await request(path, options)).json();
}

async function send(path, method, body, signal, key) {
  const headers = {};
  if (body) headers["Content-Type"] = "application/json";
  if (key) headers.Authorization = `Bearer ${key}`;
  try {
    return await fetch(urlOf(path), {
      method,
      headers,
      body: body && JSON.stringify(body),
      signal,
      credentials: "same-origin",
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // A key that no header can hold is the user's mistake, all else is the network's.
    const problem = error.message.includes("headers") ? "the API key has characters that cannot be sent" : "the server does not answer";
    throw new ApiError(problem, 0);
  }
}

/** The message of an error in each of the server's forms. */
async function messageOf(response) {
  const text = await response.text().catch(() => "");
  try {
    const { error } = JSON.parse(text);
    return String(error?.message ?? error);
  } catch {
    return text.slice(0, 300) || `status ${response.status}`;
  }
}

/** The data of the events of a stream, as texts (https://html.spec.whatwg.org/#server-sent-events). */
export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        else if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        }
      }
    }
  } finally {
    // The server stops working for a reader that left.
    reader.cancel().catch(() => {});
  }
}
