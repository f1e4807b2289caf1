// Line charts of the last hour, drawn by uPlot.
import { h, setText } from "./dom.js";

const HEIGHT_PX = 150;
const HOUR_S = 3600;
const SHORTEST_S = 300;

/**
 * One chart: `lines` are `{key, name}`, at most two; `format` writes a value. The scale ends at
 * `max`, or above the highest value and `least`.
 */
export class Chart {
  constructor(title, lines, format, { max = null, least = 1 } = {}) {
    this.title = title;
    this.lines = lines;
    this.format = format;
    this.max = max;
    this.least = least;
    this.now = h("span", { class: "now" });
    this.place = h("div", { class: "plot" });
    const legend = lines.length > 1 && h("span", { class: "legend" }, lines.map(({ name }, at) => h("span", { class: `key line${at}` }, name)));
    this.element = h("figure", { class: "card chart" }, h("figcaption", {}, h("h2", {}, title), legend, this.now), this.place);
    this.plot = null;
    new ResizeObserver(() => this.#resize()).observe(this.place);
    document.addEventListener("theme", () => this.plot?.redraw(false));
  }

  /** Show `history`: an array `time` of seconds, and one for each line, with null for no value. */
  update(history) {
    const data = [history.time, ...this.lines.map(({ key }) => history[key] ?? history.time.map(() => null))];
    const newest = this.lines.map((_, at) => data[at + 1].at(-1));
    const text = newest.map((value) => this.format(value)).join(" / ");
    setText(this.now, text);
    this.place.setAttribute("aria-label", `${this.title}, last hour; now ${text}`);
    this.data = data;
    // A hidden place has no width.
    if (!this.plot && this.place.clientWidth) this.#make();
    else this.plot?.setData(data);
  }

  #make() {
    this.place.setAttribute("role", "img");
    const axis = { stroke: () => colour("--muted"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const options = {
      width: this.place.clientWidth,
      height: HEIGHT_PX,
      legend: { show: false },
      cursor: { points: { show: false }, y: false, drag: { setScale: false, x: false, y: false } },
      scales: {
        x: { range: () => this.#span() },
        y: { range: (_, low, high) => [0, this.max ?? Math.max((high ?? 0) * 1.1, this.least)] },
      },
      axes: [
        { ...axis, size: 26, space: 70, values: (_, values) => values.map(clock) },
        { ...axis, size: 58, space: 28, values: (_, values) => values.map((value) => this.format(value)) },
      ],
      series: [{}, ...this.lines.map((_, at) => series(at))],
      hooks: { setCursor: [(plot) => this.#showAt(plot.cursor.idx)] },
    };
    this.plot = new uPlot(options, this.data, this.place);
  }

  /** The last hour; of a server that was started just now, what there is of it. */
  #span() {
    const now = Date.now() / 1000;
    const oldest = this.data[0][0] ?? now;
    return [Math.max(now - HOUR_S, Math.min(oldest, now - SHORTEST_S)), now];
  }

  #showAt(at) {
    const values = this.data.slice(1).map((line) => (at === null || at === undefined ? line.at(-1) : line[at]));
    setText(this.now, values.map((value) => this.format(value)).join(" / "));
  }

  #resize() {
    if (this.plot && this.place.clientWidth) this.plot.setSize({ width: this.place.clientWidth, height: HEIGHT_PX });
    else if (this.data && this.place.clientWidth) this.#make();
  }
}

const clock = (seconds) => new Date(seconds * 1000).toTimeString().slice(0, 5);

function series(at) {
  const names = ["--accent", "--second"];
  return {
    stroke: () => colour(names[at]),
    width: 1.5,
    fill: at === 0 ? () => `color-mix(in srgb, ${colour(names[at])} 12%, transparent)` : undefined,
    points: { show: false },
    spanGaps: false,
  };
}

/** A colour of the style sheet, as the theme has it now: canvas knows no light-dark(). */
function colour(name) {
  const probe = (colour.probe ??= document.body.appendChild(h("span", { hidden: true })));
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}
