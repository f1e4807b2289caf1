// Elements are built, never parsed: text that a model, a file or a client wrote stays text.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. `on...` attributes are listeners; false and null attributes are left out. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/** Give an element these children instead of those that it has. */
export function replace(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/** Set a text only where it differs: a selection in it survives, and readers say it once. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

let numFields = 0;

/** A labelled control, the label above it. */
export function field(label, control, hint = null) {
  numFields += 1;
  control.id = `field-${numFields}`;
  if (hint) control.setAttribute("aria-describedby", `hint-${numFields}`);
  return h(
    "div",
    { class: "field" },
    h("label", { for: control.id }, label),
    control,
    hint && h("small", { id: `hint-${numFields}` }, hint),
  );
}

/** The options of a select; the one that was chosen stays chosen while it is there. */
export function setOptions(select, names) {
  if (names.join("\n") === [...select.options].map((option) => option.value).join("\n")) return;
  const chosen = select.value;
  replace(select, names.map((name) => h("option", { value: name }, name)));
  if (names.includes(chosen)) select.value = chosen;
}
