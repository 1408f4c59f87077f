/**
 * Say what a budget is.
 *
 * Its one job: the words for enforcement, overrun and scope that several views show.
 */

import { h } from "../dom.js";
import { PERIOD_ORDER, money } from "../format.js";

export const ENFORCEMENT = {
  track: "Calls are counted, and nothing else.",
  warn: "Calls pass, with a warning header.",
  block: "A call that does not fit is refused.",
  approve: "A call that does not fit is refused until somebody grants more.",
};
export const OVERRUN = {
  finish: "Holds what is expected; a call that outgrows it finishes.",
  never: "Holds the most a call can cost; what has no bound is refused.",
  truncate: "As finish, but an answer ends where the limit does.",
};
export const UNPRICED = {
  "": "Refused where the budget blocks, and warned of otherwise.",
  block: "The call is refused.",
  warn: "The call passes, with a warning.",
  allow: "The call passes.",
};

const LIMIT_OF = { hourly: "an hour", daily: "a day", weekly: "a week", monthly: "a month", total: "in total" };

/** Return a scope as marks; "every call" where it is none. */
export function scopeMarks({ components, providers, models, tags }) {
  const marks = [
    ...components.map((glob) => ["component", glob]),
    ...providers.map((glob) => ["provider", glob]),
    ...models.map((glob) => ["model", glob]),
    ...Object.entries(tags).map(([name, glob]) => ["tag", `${name}=${glob}`]),
  ];
  if (!marks.length) return [h("span", { class: "chip" }, "every call")];
  return marks.map(([kind, glob]) =>
    h("span", { class: "chip", title: kind }, h("span", { class: "muted" }, kind), glob),
  );
}

/** Return what a budget does, as marks. */
export function mannerMarks({ enforcement, overrun, shadow, is_active: isActive }) {
  return [
    !isActive && h("span", { class: "chip", "data-tone": "warn" }, "inactive"),
    h("span", { class: "chip", title: ENFORCEMENT[enforcement] }, enforcement),
    ["block", "approve"].includes(enforcement) && h("span", { class: "chip", title: OVERRUN[overrun] }, overrun),
    shadow && h("span", { class: "chip", title: "It says what it would do, and does nothing." }, "shadow"),
  ].filter(Boolean);
}

export function limitedPeriods(budget) {
  return PERIOD_ORDER.filter((period) => budget[`${period}_limit`] !== null);
}

/** Return its limits as a sentence's part. */
export function limitWords(budget) {
  const said = limitedPeriods(budget).map((period) => `${money(budget[`${period}_limit`])} ${LIMIT_OF[period]}`);
  return said.join(", ") || "none: it counts";
}
