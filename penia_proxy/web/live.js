/**
 * Listen to the live feed (docs/live.md), and come back to it.
 *
 * Its one job: one subscription that outlives its connections: it reconnects with jitter, resumes where it was, and says
 * when what is shown may be old. What messages mean is the caller's business.
 * Rules: a callback gets every message once, in order. What was missed is always said: by a snapshot, which replaces what
 * was known, or by a gap. No dependency, no build.
 *
 *   const live = connect({
 *     channels: ["budget_updates", "alerts", "usage"],
 *     onSnapshot(data) {},  // {budgets?, alerts?}: what is there takes the place of all that was known of it
 *     onEvent(type, data, message) {},  // "budget_update" | "alert" | "usage"
 *     onGap(channel, missed) {},  // of "usage": ask the API for what was missed; `missed` is null where nobody counted
 *     onState(state, details) {},  // "connecting" | "live" | "resuming" | "stale" | "closed"
 *     onError(why) {},  // the server objects to what was asked for, e.g. to a filter
 *   });
 *   live.close();
 *
 * `resuming` is a connection that was lost a moment ago, `stale` one that could not be had again within STALE_MS, or
 * never was: what is shown is of `details.lastHeard` (a Date, null: nothing was ever heard). `details.retryAt` is when it
 * tries again, null while it does.
 */

export const STALE_MS = 3_000;
/** A line on which nothing is heard for PING_MS is asked; without an answer within PONG_MS it is dead. */
export const PING_MS = 15_000;
export const PONG_MS = 10_000;
/** A line that is silent for longer was not asked meanwhile, because timers slept: the machine did, or the tab. */
export const SLEPT_MS = PING_MS + PONG_MS + 2_000;
/** How often that is looked at. */
const LOOK_MS = 2_000;
/** The first wait is up to RETRY_MS, each further one up to twice as long, RETRY_MS_MAX at most. */
export const RETRY_MS = 500;
export const RETRY_MS_MAX = 5_000;
/** A connection that has lived so long was a good one: the next waits begin anew. */
const GOOD_MS = 10_000;

const EVENTS = new Set(["budget_update", "alert", "usage"]);

/** Return how long to wait before the attempt after `failures` failed ones: at least half of it, so that none is at once. */
export function retryDelay(failures, random = Math.random) {
  const most = Math.min(RETRY_MS * 2 ** Math.min(failures, 16), RETRY_MS_MAX);
  return most * (0.5 + random() / 2);
}

/** Return the address of the live feed beside a page. */
export function liveUrl(page = window.location) {
  const url = new URL("/ws", page.href ?? page);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

/** Begin to listen. Returns `{close, reconnect, state}`. */
export function connect(options) {
  return new Live(options);
}

class Live {
  #options;
  #socket = null;
  #position = null; // {epoch, seq} of the last message
  #behind = new Set(); // channels of which a snapshot was asked for because their messages were lost
  #state = null;
  #lastHeard = null;
  #failures = 0;
  #openedAt = 0;
  #retryAt = null;
  #retryTimer = 0;
  #staleTimer = 0;
  #quietTimer = 0;
  #lookTimer = 0;
  #wake = () => this.#hurry();

  constructor(options) {
    const silent = { onSnapshot() {}, onEvent() {}, onGap() {}, onState() {}, onError() {} };
    this.#options = { url: liveUrl, ...silent, ...options };
    // A laptop that was closed, a tab in the background: timers slept, and what is shown is looked at now.
    window.addEventListener("online", this.#wake);
    document.addEventListener("visibilitychange", this.#wake);
    this.#lookTimer = setInterval(() => this.#look(), LOOK_MS);
    // Callers may want the returned object in their callbacks.
    queueMicrotask(() => this.#open());
  }

  get state() {
    return this.#state;
  }

  /** Listen no more. */
  close() {
    if (this.#state === "closed") return;
    window.removeEventListener("online", this.#wake);
    document.removeEventListener("visibilitychange", this.#wake);
    clearInterval(this.#lookTimer);
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#staleTimer);
    this.#drop();
    this.#retryAt = null;
    this.#say("closed");
  }

  /** Try now, whatever the wait was. */
  reconnect() {
    if (this.#state === "closed" || this.#socket !== null) return;
    clearTimeout(this.#retryTimer);
    this.#open();
  }

  #open() {
    if (this.#state === "closed" || this.#socket !== null) return;
    this.#retryAt = null;
    this.#say(this.#state ?? "connecting");
    this.#staleTimer ||= setTimeout(() => this.#say("stale"), STALE_MS);
    let socket;
    try {
      const { url } = this.#options;
      socket = new WebSocket(typeof url === "function" ? url() : url);
    } catch {
      this.#retry();
      return;
    }
    this.#socket = socket;
    this.#openedAt = Date.now();
    socket.onopen = () => this.#subscribe(this.#options.channels, this.#position);
    socket.onmessage = (event) => this.#hear(socket, event.data);
    socket.onclose = () => this.#lost(socket);
    this.#expect(PONG_MS); // an address that swallows what is sent to it answers neither yes nor no
  }

  #subscribe(channels, since) {
    const { budgets, components } = this.#options;
    const message = { type: "subscribe", channels };
    if (budgets) message.budgets = budgets;
    if (components) message.components = components;
    if (since) message.since = since;
    this.#socket.send(JSON.stringify(message));
  }

  #hear(socket, text) {
    if (socket !== this.#socket) return;
    const message = JSON.parse(text);
    const { epoch, seq, type } = message;
    this.#lastHeard = new Date();
    this.#listenOn();
    if (type === "error") this.#options.onError(message.error);
    else if (type === "subscribed") this.#welcomed(message);
    else if (epoch !== this.#position?.epoch || seq <= this.#position.seq) return; // heard before
    this.#position = { epoch, seq };
    if (type === "snapshot") {
      this.#options.onSnapshot(message.data);
      this.#live();
    } else if (type === "gap") {
      this.#missed(message.data);
    } else if (EVENTS.has(type)) {
      this.#options.onEvent(type, message.data, message);
    }
  }

  #welcomed({ channels, replayed }) {
    if (replayed) {
      this.#live();
    } else if (channels.includes("usage") && this.#position !== null && !this.#behind.size) {
      // A snapshot follows. It shows where everything stands, not the calls in between.
      this.#options.onGap("usage", null);
    }
    this.#behind.clear();
  }

  #missed({ channel, missed }) {
    if (channel === "usage") {
      this.#options.onGap(channel, missed);
    } else if (!this.#behind.has(channel)) {
      this.#behind.add(channel);
      this.#subscribe([channel], null); // a snapshot of it takes the place of what was lost
    }
  }

  #live() {
    clearTimeout(this.#staleTimer);
    this.#staleTimer = 0;
    this.#say("live");
  }

  #lost(socket) {
    if (socket !== this.#socket) return;
    this.#drop();
    this.#retry();
  }

  #retry() {
    if (Date.now() - this.#openedAt >= GOOD_MS) this.#failures = 0;
    const wait = retryDelay(this.#failures);
    this.#failures += 1;
    this.#retryAt = new Date(Date.now() + wait);
    this.#staleTimer ||= setTimeout(() => this.#say("stale"), STALE_MS);
    this.#say(this.#state === "live" ? "resuming" : this.#state);
    this.#retryTimer = setTimeout(() => this.#open(), wait);
  }

  /** Forget the connection: what it still says is nothing to us. */
  #drop() {
    clearTimeout(this.#quietTimer);
    this.#behind.clear();
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #listenOn() {
    clearTimeout(this.#quietTimer);
    this.#quietTimer = setTimeout(() => this.#ask(), PING_MS);
  }

  #ask() {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send('{"type":"ping"}');
    this.#expect(PONG_MS);
  }

  #expect(within) {
    clearTimeout(this.#quietTimer);
    this.#quietTimer = setTimeout(() => this.#lost(this.#socket), within);
  }

  #hurry() {
    if (document.visibilityState === "hidden") return;
    this.#look();
    if (this.#socket === null) this.reconnect();
    else if (this.#socket.readyState === WebSocket.OPEN) this.#ask();
  }

  /** Believe no line that nobody has looked after: what is shown would be hours old, and called live. */
  #look() {
    if (document.visibilityState === "hidden" || this.#socket?.readyState !== WebSocket.OPEN) return;
    if (Date.now() - Math.max(this.#lastHeard ?? 0, this.#openedAt) > SLEPT_MS) this.#lost(this.#socket);
  }

  #say(state) {
    if (this.#state === "closed") return;
    this.#state = state;
    this.#options.onState(state, { lastHeard: this.#lastHeard, retryAt: this.#retryAt });
  }
}
