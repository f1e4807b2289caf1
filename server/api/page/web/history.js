// Points of the last hour: lists of numbers, the first of which is the time in seconds.

export const HOUR_S = 3600;

/** The points that are known and the newer ones, without those that are too old. */
export function mergeHistory(known, newer) {
  if (!newer.length) return known;
  const start = newer.at(-1)[0] - HOUR_S;
  const kept = known.filter(([time]) => time >= start && time < newer[0][0]);
  return [...kept, ...newer];
}

const SUMS = ["running", "waiting", "tokensPerSecond"];
const MEANS = ["ttft", "itl", "kvUse", "prefixHits"];

/** Replicas note their points at moments of their own, every 5 s. */
const slotOf = (time) => Math.round(time / 5) * 5;

/** The lines of several models as those of one. */
export function sumHistories(histories) {
  const times = [...new Set(histories.flatMap(({ time }) => time.map(slotOf)))].sort((a, b) => a - b);
  const total = { time: times };
  const places = histories.map(({ time }) => new Map(time.map((moment, at) => [slotOf(moment), at])));
  const count = (time) => places.filter((place) => place.has(time)).length;
  // Not all have noted the newest point yet: its sum would be too small.
  if (times.length > 1 && count(times.at(-1)) < count(times.at(-2))) times.pop();
  for (const name of [...SUMS, ...MEANS]) {
    total[name] = times.map((time) => {
      const values = histories.map((one, at) => one[name][places[at].get(time)]).filter((value) => value !== null && value !== undefined);
      if (!values.length) return null;
      const sum = values.reduce((a, b) => a + b, 0);
      return MEANS.includes(name) ? sum / values.length : sum;
    });
  }
  return total;
}
