// The small part of Markdown that models write, as elements. Links, images and HTML stay text:
// an answer cannot make the browser load or run anything.
import { h } from "./dom.js";

const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+#.-]*)/;
const HEADING = /^(#{1,6}) +(.+)$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const INLINE = /(`+)([^]+?)\1(?!`)|\*\*(?=\S)([^]+?\S)\*\*|\*(?=[^\s*])([^*]*[^\s*])\*/g;

/** The elements of a text. Every character of unfinished or unknown markup is shown. */
export function markdown(text) {
  const lines = text.split("\n");
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    const [block, next] = readBlock(lines, at);
    if (block) blocks.push(block);
    at = next;
  }
  return blocks;
}

function readBlock(lines, at) {
  const line = lines[at];
  if (!line.trim()) return [null, at + 1];
  if (FENCE.test(line)) return readCode(lines, at);
  const heading = HEADING.exec(line);
  if (heading) return [h("p", { class: "heading" }, inline(heading[2])), at + 1];
  if (ITEM.test(line)) return readList(lines, at);
  return readParagraph(lines, at);
}

function readCode(lines, at) {
  const [, fence, language] = FENCE.exec(lines[at]);
  let end = at + 1;
  while (end < lines.length && !lines[end].trimStart().startsWith(fence)) end += 1;
  const code = h("code", {}, lines.slice(at + 1, end).join("\n"));
  // A long line is scrolled, with the keyboard too.
  return [h("pre", { tabindex: "0", "data-language": language || null }, code), end + 1];
}

function readList(lines, at) {
  const items = [];
  const [, indent, mark] = ITEM.exec(lines[at]);
  const isOrdered = /\d/.test(mark);
  while (at < lines.length) {
    const item = ITEM.exec(lines[at]);
    if (item && item[1].length > indent.length + 1 && items.length) {
      const [list, next] = readList(lines, at);
      items.at(-1).append(list);
      at = next;
    } else if (item && item[1].length >= indent.length && /\d/.test(item[2]) === isOrdered) {
      items.push(h("li", {}, inline(item[3])));
      at += 1;
    } else if (!item && lines[at].trim() && /^\s/.test(lines[at])) {
      items.at(-1).append(" ", ...inline(lines[at].trim()));
      at += 1;
    } else break;
  }
  const start = isOrdered ? Number.parseInt(mark, 10) : null;
  return [h(isOrdered ? "ol" : "ul", { start: start === 1 ? null : start }, items), at];
}

function readParagraph(lines, at) {
  const start = at;
  do at += 1;
  while (at < lines.length && lines[at].trim() && ![FENCE, HEADING, ITEM].some((kind) => kind.test(lines[at])));
  return [h("p", {}, inline(lines.slice(start, at).join("\n"))), at];
}

function inline(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    parts.push(text.slice(end, match.index));
    const [, ticks, code, strong, emphasis] = match;
    if (ticks) parts.push(h("code", {}, code.trim() || code));
    else parts.push(h(strong ? "strong" : "em", {}, strong ?? emphasis));
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  return parts.filter(Boolean);
}
