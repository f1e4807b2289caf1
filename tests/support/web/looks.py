"""What a page looks like, as numbers: contrast, overflow, names of controls."""

from typing import Any

from support.web.browser import Page

CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => {
    const mix = (at) => top[at] * top[3] + below[at] * (1 - top[3]);
    return [mix(0), mix(1), mix(2), 1];
  };
  const light = (colour) => {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = colour.slice(0, 3).map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const box = at.matches("g.node") && at.querySelector(".box");
      layers.push(parse(box ? getComputedStyle(box).fill : getComputedStyle(at).backgroundColor));
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
  };
  const bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !element.checkVisibility()) continue;
    if (element.matches("title, option, :disabled")) continue;
    const style = getComputedStyle(element);
    const back = behind(element);
    const text = over(parse(element.closest("svg") ? style.fill : style.color), back);
    const [low, high] = [light(text), light(back)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    const name = element.className?.baseVal ?? element.className;
    if (ratio < 4.5) bad.push(`${ratio.toFixed(2)} ${name} ${node.textContent.slice(0, 40)}`);
  }
  return [...new Set(bad)];
}"""

OVERFLOW = """() => {
  const width = document.documentElement.clientWidth;
  const scrolls = (element) => {
    for (let at = element; at !== document.body; at = at.parentElement) {
      if (at !== element && getComputedStyle(at).overflowX !== "visible") return true;
    }
    return false;
  };
  const bad = [...document.body.querySelectorAll("*")].filter((element) => {
    if (element.closest("svg") && element.tagName !== "svg") return false;
    const box = element.getBoundingClientRect();
    const isOutside = box.right > width + 1 || box.left < -1;
    if (!isOutside || !box.width || element.matches(".skip, .spoken")) return false;
    return element.checkVisibility() && !scrolls(element);
  });
  const page = document.documentElement.scrollWidth > width ? ["the page"] : [];
  const name = (element) => `${element.tagName} ${element.className} ${element.textContent}`;
  return [...page, ...bad.map((element) => name(element).slice(0, 80))];
}"""

UNNAMED = """() => [...document.querySelectorAll(
    "button, input, select, textarea, a, [role=img], [role=region]")]
  .filter((element) => element.checkVisibility())
  .filter((element) => {
    const label = element.labels?.[0]?.textContent ?? element.getAttribute("aria-label");
    return !(label ?? element.textContent).trim();
  })
  .map((element) => element.outerHTML.slice(0, 80))"""


def find_low_contrast(page: Page) -> Any:
    """Texts that do not stand out from what is behind them by 4.5 : 1 (WCAG 2.2, 1.4.3)."""
    return page.evaluate(CONTRAST)


def find_overflow(page: Page) -> Any:
    """What is broader than the window, except in parts that scroll by themselves."""
    return page.evaluate(OVERFLOW)


def find_unnamed_controls(page: Page) -> Any:
    """Controls and pictures without a name for screen readers."""
    return page.evaluate(UNNAMED)
