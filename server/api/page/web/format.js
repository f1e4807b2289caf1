// Numbers as people read them.

export const NOTHING = "–";

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** 12,345 or 0.42: three significant digits where there is a fraction. */
export function number(value) {
  if (!isNumber(value)) return NOTHING;
  if (Number.isInteger(value) || Math.abs(value) >= 100) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}

/** A duration in the unit that fits: 340 µs, 12 ms, 1.2 s, 3 min. */
export function duration(seconds) {
  if (!isNumber(seconds)) return NOTHING;
  if (seconds === 0) return "0 s";
  if (seconds < 0.001) return `${number(Math.round(seconds * 1e6))} µs`;
  if (seconds < 1) return `${number(Number((seconds * 1000).toPrecision(3)))} ms`;
  if (seconds < 120) return `${number(Number(seconds.toPrecision(3)))} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

/** 1.5 GiB. */
export function bytes(count) {
  if (!isNumber(count)) return NOTHING;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${number(Number(count.toPrecision(3)))} ${units[unit]}`;
}

/** 0.423 -> 42 %. */
export function percent(share) {
  return isNumber(share) ? `${Math.round(share * 100)} %` : NOTHING;
}

/** At most `length` characters (code points), the end replaced by an ellipsis. */
export function shorten(text, length) {
  const characters = [...text];
  return characters.length <= length ? text : `${characters.slice(0, length - 1).join("")}…`;
}

/** One thing, 2 things. */
export function count(number_, one, many = `${one}s`) {
  return `${number(number_)} ${number_ === 1 ? one : many}`;
}
