/**
 * Decide when.
 *
 * Its one job: repeat, hold back and wait, each until a signal says that nobody wants it any more.
 */

/** Call a function every so often while the page is seen. */
export function every(ms, call, signal) {
  const timer = setInterval(() => {
    if (document.visibilityState !== "hidden") call();
  }, ms);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/** Return a function that calls another at once, and then at most every so often; the last call is never lost. */
export function throttled(ms, call, signal) {
  let due = 0;
  let timer = 0;
  signal.addEventListener("abort", () => clearTimeout(timer));
  return () => {
    if (timer || signal.aborted) return;
    timer = setTimeout(
      () => {
        timer = 0;
        due = Date.now() + ms;
        call();
      },
      Math.max(0, due - Date.now()),
    );
  };
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
  let asked = 0;
  let answer = null;
  return (...args) => {
    if (answer === null || Date.now() - asked > ms) {
      asked = Date.now();
      const mine = (answer = ask(...args));
      // A failure is for those who wait for it; whoever asks again means it.
      mine.catch(() => {
        if (answer === mine) answer = null;
      });
    }
    return answer;
  };
}
