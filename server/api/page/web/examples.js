// A first request to a model of each kind.
export function exampleOf(model) {
  const { name } = model;
  const messages = [{ role: "user", content: "Hello!" }];
  if (model.serves.includes("chat")) return ["/v3/chat/completions", { model: name, messages }];
  if (model.serves.includes("embeddings")) return ["/v3/embeddings", { model: name, input: ["Some text."] }];
  if (model.serves.includes("rerank")) return ["/v3/rerank", { model: name, query: "A question", documents: ["An answer.", "Another text."] }];
  return null;
}
