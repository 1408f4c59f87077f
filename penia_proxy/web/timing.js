/**
 * Decide when.
 *
 * Its one job: repeat, hold back and wait, each until a signal says that nobody wants it any more.
 */

/** What is asked again takes a twentieth of the time at most. */
const RESTRAINT = 20;

/** Timers sleep with the machine, and what was due meanwhile is due when it wakes. */
const LOOK_MS = 5_000;

/** Call a function every so often while the page is seen, and as soon as it is seen again where that is overdue. */
export function every(ms, call, signal) {
  let due = Date.now() + ms;
  function look() {
    const left = due - Date.now();
    // More than there ever is: the clock was put back.
    if (document.visibilityState === "hidden" || (left > 0 && left <= ms)) return;
    due = Date.now() + ms;
    call();
  }
  const timer = setInterval(look, Math.min(ms, LOOK_MS));
  document.addEventListener("visibilitychange", look, { signal });
  signal.addEventListener("abort", () => clearInterval(timer));
}

/**
 * Return a function that calls another at once, and then at most every so often; the last call is never lost.
 *
 * What takes long is called less often, so that a ledger of any size has its time for others; and what nobody sees waits
 * until somebody does.
 */
export function throttled(ms, call, signal) {
  let due = 0;
  let timer = 0;
  let isRunning = false;
  let isWanted = false;

  async function run() {
    timer = 0;
    isRunning = true;
    isWanted = false;
    const began = performance.now();
    await call();
    isRunning = false;
    due = performance.now() + Math.max(ms, RESTRAINT * (performance.now() - began));
    if (isWanted) wanted();
  }
  function wanted() {
    if (signal.aborted) return;
    if (isRunning || document.visibilityState === "hidden") isWanted = true;
    else timer ||= setTimeout(run, Math.max(0, due - performance.now()));
  }
  document.addEventListener("visibilitychange", () => isWanted && wanted(), { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  return wanted;
}

/** Return a function that calls another once it has not been asked for so long. */
export function settled(ms, call, signal) {
  let timer = 0;
  signal.addEventListener("abort", () => clearTimeout(timer));
  return () => {
    clearTimeout(timer);
    timer = setTimeout(call, ms);
  };
}

/** Return a function that asks at most every so often, and gives whoever asks in between the same answer. */
export function shared(ms, ask) {
  let asked = 0; // of the page's own clock, which is never put back
  let answer = null;
  return (...args) => {
    if (answer === null || performance.now() - asked > ms) {
      asked = performance.now();
      const mine = (answer = ask(...args));
      // A failure is for those who wait for it; whoever asks again means it.
      mine.catch(() => {
        if (answer === mine) answer = null;
      });
    }
    return answer;
  };
}
