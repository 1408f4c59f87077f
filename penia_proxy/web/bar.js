/**
 * Draw a window of a budget as a bar.
 *
 * Its one job: spent, held and left as parts of a limit, and a mark where warnings begin. Rule: the figures stand
 * beside it as text, so that the bar is for the eye alone.
 */

import { h } from "./dom.js";

/** Return how a window stands: `over`, `warn` or `fine`. */
export function levelOf({ spent, held, limit }, warnAt) {
  if (limit === null || limit === undefined) return "fine";
  if (spent + held >= limit) return "over";
  return warnAt && spent >= warnAt * limit ? "warn" : "fine";
}

export function bar({ spent, held, limit }, { warnAt = null, thin = false } = {}) {
  const form = thin ? "bar thin" : "bar";
  if (limit === null || limit === undefined) return h("div", { class: "bar unlimited", "aria-hidden": "true" });
  const whole = Math.max(limit, spent + held) || 1;
  const width = (part) => ({ width: `${(100 * part) / whole}%` });
  return h(
    "div",
    { class: form, "data-level": levelOf({ spent, held, limit }, warnAt), "aria-hidden": "true" },
    h("i", { class: "spent", style: width(Math.max(0, spent)) }),
    h("i", { class: "held", style: width(Math.max(0, held)) }),
    warnAt && warnAt < 1 && h("i", { class: "tick", style: { left: `${(100 * warnAt * limit) / whole}%` } }),
    whole > limit && h("i", { class: "tick", style: { left: `${(100 * limit) / whole}%` } }),
  );
}
