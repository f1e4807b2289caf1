// What the server says of itself, asked for again and again while somebody looks.
import { requestJson } from "./api.js";
import { readSnapshot } from "./snapshot.js";

const INTERVAL_MS = 2000;
const OVERLAP_S = 10;
const LONGEST_PAUSE_MS = 15000;

/** Fires "change" after each answer, and when the server no longer answers. */
export class Live extends EventTarget {
  /** The newest snapshot, or null before the first. */
  snapshot = null;
  /** Why there is no newer one, or null. */
  problem = null;
  /** Whether the server wants a key that nobody gave; then it is not asked again by itself. */
  needsKey = false;
  #timer = null;
  #isAsking = false;
  #numFailures = 0;

  start() {
    // Nobody sees a page in the background.
    document.addEventListener("visibilitychange", () => !document.hidden && this.refresh());
    this.refresh();
  }

  async refresh() {
    clearTimeout(this.#timer);
    if (this.#isAsking) return;
    this.#isAsking = true;
    // Replicas note their points at moments of their own.
    const since = Math.max(0, (this.snapshot?.newestPoint ?? 0) - OVERLAP_S);
    try {
      this.snapshot = readSnapshot(await requestJson(`/v1/status?since=${since}`), this.snapshot);
      this.problem = null;
      this.needsKey = false;
      this.#numFailures = 0;
    } catch (error) {
      this.#numFailures += 1;
      this.needsKey = error.status === 401;
      this.problem = this.needsKey
        ? "The status of the server needs an API key."
        : `The status of the server is not known: ${error.message}. It is asked for again.`;
    }
    this.#isAsking = false;
    const pause = Math.min(INTERVAL_MS * 2 ** Math.max(this.#numFailures - 1, 0), LONGEST_PAUSE_MS);
    if (!document.hidden && !this.needsKey) this.#timer = setTimeout(() => this.refresh(), pause);
    this.dispatchEvent(new Event("change"));
  }
}
