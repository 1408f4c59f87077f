/**
 * Keep what the live feed says.
 *
 * Its one job: one connection for the whole page, the last state of every budget, and events for whoever shows them:
 * `budget` and `alert` and `usage` (with `detail`), `snapshot`, `missed` (calls went by unseen), `state`, and `back`
 * (the feed is live again after it was not: what was read before may be old).
 */

import { connect } from "./live.js";

class Feed extends EventTarget {
  budgets = new Map();
  state = "connecting";
  lastHeard = null;
  #wasLost = false;

  start() {
    connect({
      channels: ["budget_updates", "alerts", "usage"],
      onSnapshot: (data) => this.#snapshot(data),
      onEvent: (type, data) => this.#event(type, data),
      onGap: (channel, missed) => this.#tell("missed", { channel, missed }),
      onState: (state, { lastHeard }) => this.#moved(state, lastHeard),
    });
  }

  get isLive() {
    return this.state === "live";
  }

  /** Call a listener on each of some events, until the signal. */
  on(names, listener, signal) {
    for (const name of names.split(" ")) this.addEventListener(name, (event) => listener(event.detail), { signal });
  }

  #snapshot(data) {
    if (data.budgets) {
      this.budgets = new Map(data.budgets.map((state) => [state.budget_id, state]));
      this.#tell("snapshot", this.budgets);
    }
  }

  #event(type, data) {
    if (type === "budget_update") {
      this.budgets.set(data.budget_id, data);
      this.#tell("budget", data);
    } else {
      this.#tell(type, data);
    }
  }

  #moved(state, lastHeard) {
    this.state = state;
    this.lastHeard = lastHeard;
    this.#tell("state", state);
    if (state === "live" && this.#wasLost) this.#tell("back");
    this.#wasLost = state !== "live" && (this.#wasLost || lastHeard !== null || state === "stale");
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

export const feed = new Feed();
