// Starts the page: the panels, the address, the theme, the connection.
import { onKeyNeeded, storedKey } from "./api.js";
import { h, replace, setText } from "./dom.js";
import { askForKey } from "./key_dialog.js";
import { Live } from "./live.js";
import { ChatPanel } from "./panels/chat.js";
import { LoadPanel } from "./panels/load.js";
import { ModelPanel } from "./panels/model.js";
import { ModelsPanel } from "./panels/models.js";
import { SystemPanel } from "./panels/system.js";
import { TryoutPanel } from "./panels/tryout.js";

const PANELS = [
  ["models", "Models", ModelsPanel],
  ["load", "Load", LoadPanel],
  ["chat", "Chat", ChatPanel],
  ["tryout", "Try out", TryoutPanel],
  ["system", "System", SystemPanel],
  // Reached from the list of models.
  ["model", null, ModelPanel],
];

const byId = (id) => document.getElementById(id);
const main = byId("content");
const live = new Live();
// Panels are made when they are first shown, and kept: a conversation survives a look elsewhere.
const panels = new Map();
let shown = null;

function route() {
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  const [id, , Panel] = PANELS.find(([known]) => known === name) ?? PANELS[0];
  if (!panels.has(id)) panels.set(id, new Panel(live));
  const panel = panels.get(id);
  const isFirst = shown === null;
  shown?.hide?.();
  shown = panel;
  replace(main, panel.element);
  panel.show(rest.map(decode).join("/"));
  panel.update(live.snapshot);
  for (const link of byId("navigation").children) {
    const isCurrent = link.dataset.panel === (id === "model" ? "models" : id);
    if (isCurrent) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const title = panel.element.querySelector("h1");
  document.title = `${title.textContent} · OpenVINO graph server`;
  if (isFirst) return;
  // What a new document would do for readers and for the keyboard.
  scrollTo(0, 0);
  title.tabIndex = -1;
  title.focus({ preventScroll: true });
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // written by hand
  }
}

function showConnection() {
  const { snapshot, problem } = live;
  const banner = byId("banner");
  banner.hidden = problem === null;
  setText(banner, problem ?? "");
  const isDraining = snapshot?.draining;
  setText(byId("connection"), problem ? "Not connected" : isDraining ? "Stopping" : snapshot ? "Live" : "Connecting");
  byId("key").hidden = !storedKey() && !live.needsKey;
}

function showTheme() {
  const names = { auto: "Auto", light: "Light", dark: "Dark" };
  const button = byId("theme");
  button.textContent = names[theme.current()];
  button.setAttribute("aria-label", `Theme: ${theme.current()}. Change to ${theme.next()}`);
}

replace(
  byId("navigation"),
  PANELS.filter(([, title]) => title).map(([id, title]) => h("a", { href: `#/${id}`, "data-panel": id }, title)),
);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says which panel is shown
  main.focus();
});
byId("theme").addEventListener("click", () => theme.set(theme.next()));
document.addEventListener("theme", showTheme);
byId("key").addEventListener("click", async () => {
  await askForKey("The key that this tab sends with its requests.");
  live.refresh();
});
onKeyNeeded(askForKey);
live.addEventListener("change", () => {
  showConnection();
  shown?.update(live.snapshot);
});
addEventListener("hashchange", route);
showTheme();
showConnection();
route();
live.start();
