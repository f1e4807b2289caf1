// Where the user writes.
import { h, replace } from "../dom.js";

const MOST_PICTURES = 8;

/** `onSend(text, images)` says whether the message was taken; `onStop` ends the answer. */
export class Composer {
  constructor(onSend, onStop) {
    this.onSend = onSend;
    this.isEnabled = false;
    this.images = [];
    this.text = h("textarea", { rows: 2, name: "message", "aria-label": "Message", placeholder: "Message", onkeydown: (event) => this.#onKey(event) });
    this.sendButton = h("button", { class: "primary", disabled: true }, "Send");
    this.stopButton = h("button", { type: "button", hidden: true, onclick: onStop }, "Stop");
    this.files = h("input", { type: "file", accept: "image/*", multiple: true, "aria-label": "Pictures", onchange: () => this.#read() });
    this.previews = h("div", { class: "pictures" });
    this.pictures = h("div", { class: "attach", hidden: true }, this.files, this.previews);
    this.element = h(
      "form",
      { class: "composer", onsubmit: (event) => this.#submit(event) },
      this.text,
      h("div", { class: "buttons" }, this.stopButton, this.sendButton),
      this.pictures,
    );
  }

  focus() {
    this.text.focus();
  }

  setEnabled(isEnabled) {
    this.isEnabled = isEnabled;
    this.sendButton.disabled = !isEnabled;
  }

  setBusy(isBusy) {
    const hadFocus = [this.stopButton, this.sendButton].includes(document.activeElement);
    this.stopButton.hidden = !isBusy;
    this.sendButton.hidden = isBusy;
    // A button that vanishes would lose the focus to the page.
    if (hadFocus) (isBusy ? this.stopButton : this.text).focus();
  }

  takesPictures(does) {
    this.pictures.hidden = !does;
    if (!does && this.images.length) this.#forget();
  }

  #onKey(event) {
    // Enter also ends a word in input methods of Chinese, Japanese and Korean.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!this.sendButton.hidden) this.element.requestSubmit();
  }

  #submit(event) {
    event.preventDefault();
    const text = this.text.value.trim();
    if (!this.isEnabled || (!text && !this.images.length) || this.sendButton.hidden) return;
    if (!this.onSend(text, this.images)) return;
    this.text.value = "";
    this.#forget();
  }

  async #read() {
    const files = [...this.files.files].slice(0, MOST_PICTURES);
    const read = await Promise.allSettled(files.map(asDataUrl));
    // A file that was moved meanwhile is left out.
    this.images = read.filter(({ status }) => status === "fulfilled").map(({ value }) => value);
    replace(this.previews, this.images.map((src, at) => h("img", { src, alt: `Picture ${at + 1}` })));
  }

  #forget() {
    this.images = [];
    this.files.value = "";
    replace(this.previews);
  }
}

function asDataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
