// Asks for the API key.
import { storeKey, storedKey } from "./api.js";
import { field, h } from "./dom.js";

/** Show the dialog; the promise says whether a key was given. */
export function askForKey(reason) {
  return new Promise((resolve) => {
    const input = h("input", { type: "password", autocomplete: "off", spellcheck: "false", required: true });
    const dialog = h(
      "dialog",
      { "aria-labelledby": "key-title", class: "key-dialog" },
      h(
        "form",
        {
          onsubmit: (event) => {
            event.preventDefault();
            storeKey(input.value.trim());
            dialog.close("given");
          },
        },
        h("h2", { id: "key-title" }, "API key"),
        h("p", { role: "status" }, reason),
        field("Key", input, "It stays in this tab and is forgotten when you close it."),
        h(
          "div",
          { class: "buttons" },
          storedKey() && h("button", { type: "button", onclick: () => { storeKey(""); dialog.close(); } }, "Forget"),
          h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
          h("button", { class: "primary" }, "Use this key"),
        ),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "given");
    });
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
}
