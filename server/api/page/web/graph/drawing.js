// Draws a graph as SVG, and writes its load into the drawing while it runs.
import { replace, s, setText } from "../dom.js";
import { duration, number, shorten } from "../format.js";
import { layOut } from "./layout.js";

const CHARACTER_PX = 6.7;
const LINE_PX = 15;
const MARGIN = 14;
const SMALLEST_SCALE = 0.75;
const MOST_CHARACTERS = 26;

/** The drawing of one graph, `{nodes, edges}` as snapshot.js makes them; see `show`. */
export class GraphDrawing {
  constructor() {
    this.element = document.createElement("div");
    this.element.className = "graph";
    this.element.tabIndex = 0;
    this.shape = "";
    this.graph = null;
    new ResizeObserver(() => this.graph && this.show(this.graph)).observe(this.element);
  }

  /** Draw a graph, or only its load where the same graph is drawn already. */
  show(graph) {
    this.graph = graph;
    const width = this.element.clientWidth;
    const shape = JSON.stringify([width, graph.nodes.map(describeNode), graph.edges.map(describeEdge)]);
    // To the right if that fits, otherwise down.
    if (shape !== this.shape && !this.#draw(graph, false, width)) this.#draw(graph, true, Infinity);
    this.shape = shape;
    for (const node of graph.nodes) this.#showNode(node);
    for (const edge of graph.edges) this.#showEdge(edge);
  }

  /** Draw the graph unless it is broader than `most` pixels; returns whether it was drawn. */
  #draw(graph, isVertical, most) {
    const nodes = graph.nodes.map((node) => ({ ...node, ...sizeOf(node, graph.edges, isVertical) }));
    const edges = graph.edges.map((edge) => ({ ...edge, gap: isVertical ? 84 : labelWidth(edge) + 64 }));
    const plan = layOut(nodes, edges, isVertical);
    this.texts = new Map();
    this.lines = new Map();
    const width = plan.width + 2 * MARGIN + (isVertical ? 40 : 0);
    const height = plan.height + 2 * MARGIN;
    if (width > most) return false;
    const named = new Set();
    const isFirst = (edge) => {
      const name = `${edge.from} ${edge.label} ${edge.isSide}`;
      return !named.has(name) && named.add(name);
    };
    this.element.setAttribute("aria-label", "Graph; it can be scrolled");
    replace(
      this.element,
      s(
        "svg",
        {
          role: "img",
          "aria-label": describe(graph),
          viewBox: `${-MARGIN} ${-MARGIN} ${width} ${height}`,
          width,
          height,
        },
        s("defs", {}, arrow("arrow"), arrow("arrow-busy")),
        plan.edges.map((edge) => this.#edge(edge, isVertical)),
        plan.nodes.map((node) => this.#node(node)),
        // One label for all readers of a stream.
        plan.edges.filter(isFirst).map((edge) => this.#label(edge, isVertical)),
      ),
    );
    this.#fit(width);
    return true;
  }

  /** A drawing that is a little too broad is made smaller; a broader one is scrolled. */
  #fit(width) {
    const { style } = this.element.firstChild;
    style.maxWidth = "100%";
    style.minWidth = `${Math.round(width * SMALLEST_SCALE)}px`;
    style.height = "auto";
    this.element.scrollLeft = (this.element.scrollWidth - this.element.clientWidth) / 2;
  }

  #node(node) {
    const box = s("rect", { width: node.width, height: node.height, rx: 6, class: "box" });
    const middle = node.height / 2;
    const line = (y, kind, text, full) =>
      s("text", { x: 12, y, class: kind }, s("title", {}, full), s("tspan", {}, text));
    if (node.isBorder) {
      const text = s("text", { x: node.width / 2, y: middle + 4, "text-anchor": "middle", class: "border" }, node.title);
      return s("g", { class: "node border", transform: place(node) }, box, text);
    }
    const load = s("text", { x: 12, y: middle + 22, class: "load" });
    const meter = s("rect", { x: 1, y: node.height - 4, width: 0, height: 3, class: "meter" });
    const group = s(
      "g",
      { class: "node", transform: place(node) },
      box,
      line(middle - 14, "title", shorten(node.title, MOST_CHARACTERS), node.title),
      line(middle + 4, "kind", shorten(node.calculator, MOST_CHARACTERS + 2), node.calculator),
      load,
      meter,
    );
    this.texts.set(node.id, { group, load, meter, width: node.width - 2 });
    return group;
  }

  #edge(edge, isVertical) {
    const line = s("path", {
      d: edge.isBackward ? corners(edge.points) : curve(edge, isVertical),
      class: edge.isSide ? "edge side" : "edge",
      "marker-end": "url(#arrow)",
    });
    this.lines.set(edge.id, { line });
    return line;
  }

  #label(edge, isVertical) {
    const [x, y] = labelPlace(edge, isVertical);
    const width = labelWidth(edge);
    const second = edge.type || edge.hasLoad;
    const load = s("text", { y: 11, "text-anchor": "middle", class: "type" });
    this.lines.get(edge.id).load = load;
    return s(
      "g",
      { class: "label", transform: `translate(${x} ${y})` },
      s("title", {}, `${edge.label}${edge.type ? `, ${edge.type}` : ""}`),
      s("rect", { x: -width / 2, y: second ? -LINE_PX : -9, width, height: second ? 2 * LINE_PX + 1 : 19, rx: 4 }),
      s("text", { y: second ? -3 : 4, "text-anchor": "middle", class: "name" }, shorten(edge.label, MOST_CHARACTERS - 4)),
      load,
    );
  }

  #showNode(node) {
    const drawn = this.texts.get(node.id);
    if (!drawn) return;
    setText(drawn.load, loadOf(node));
    const busy = Math.min(1, node.busy ?? (node.inFlight ? 1 : 0));
    drawn.meter.setAttribute("width", Math.round(drawn.width * busy));
    drawn.group.setAttribute("class", `node${node.inFlight ? " busy" : ""}${node.newErrors ? " failing" : ""}`);
  }

  #showEdge(edge) {
    const { line, load } = this.lines.get(edge.id) ?? {};
    if (!line) return;
    const rate = edge.rate ?? 0;
    line.classList.toggle("busy", rate > 0);
    line.style.strokeWidth = rate > 0 ? String(Math.min(5, 1.5 + Math.log10(1 + rate))) : "";
    line.setAttribute("marker-end", rate > 0 ? "url(#arrow-busy)" : "url(#arrow)");
    const type = shorten(edge.type ?? "", MOST_CHARACTERS - 4);
    if (load) setText(load, rate > 0 ? `${number(rate)} /s` : type);
  }
}

function loadOf(node) {
  if (node.calls === undefined) return "";
  const parts = [`${number(node.inFlight)} at work`];
  if (node.rate > 0) parts.push(`${number(node.rate)} /s`);
  if (node.meanSeconds !== undefined) parts.push(duration(node.meanSeconds));
  if (node.queue) parts.push(`${number(node.queue)} wait`);
  return parts.join(" · ");
}

function describe(graph) {
  const nodes = graph.nodes.filter((node) => !node.isBorder).map((node) => `${node.title}, a ${node.calculator}`);
  return `${nodes.length} nodes: ${nodes.join("; ")}`;
}

const describeNode = (node) => [node.id, node.title, node.calculator];
const describeEdge = (edge) => [edge.id, edge.label, edge.type];

function sizeOf(node, edges, isVertical) {
  const ins = edges.filter((edge) => edge.to === node.id);
  const outs = edges.filter((edge) => edge.from === node.id);
  const numOuts = new Set(outs.map((edge) => edge.label)).size;
  const widest = Math.max(0, ...outs.map(labelWidth));
  const width = node.isBorder ? textWidth(node.title) + 28 : 214;
  const height = node.isBorder ? 34 : 72;
  return isVertical
    ? { width: Math.max(width, numOuts > 1 ? (numOuts + 1) * (widest + 8) : 0, (ins.length + 1) * 20), height }
    : { width, height: Math.max(height, numOuts > 1 ? (numOuts + 1) * 32 : 0, (ins.length + 1) * 20) };
}

const textWidth = (text) => [...shorten(text, MOST_CHARACTERS)].length * CHARACTER_PX;
const labelWidth = (edge) => Math.max(textWidth(edge.label), textWidth(edge.type ?? ""), 50) + 10;
const place = (node) => `translate(${node.x} ${node.y})`;

/** Beside the writer of a stream; further on lie other nodes. */
function labelPlace(edge, isVertical) {
  const [[x1, y1], [x2, y2], third] = edge.points;
  if (edge.isBackward) return isVertical ? [x2, (y2 + third[1]) / 2] : [(x2 + third[0]) / 2, y2];
  return isVertical ? [x1, y1 + 28] : [x1 + 12 + labelWidth(edge) / 2, y1];
}

/** Straight to the end of the label, then in curves through the bends. */
function curve(edge, isVertical) {
  const [[x, y], ...rest] = edge.points;
  let [x1, y1] = isVertical ? [x, y + 40] : [x + 12 + labelWidth(edge), y];
  let path = `M${x} ${y}L${x1} ${y1}`;
  for (const [x2, y2] of rest) {
    const middle = isVertical ? (y1 + y2) / 2 : (x1 + x2) / 2;
    path += isVertical ? `C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}` : `C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`;
    [x1, y1] = [x2, y2];
  }
  return path;
}

const corners = (points) => `M${points.map(([x, y]) => `${x} ${y}`).join("L")}`;

function arrow(id) {
  return s(
    "marker",
    { id, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" },
    s("path", { d: "M0 0L8 4L0 8z" }),
  );
}
