/**
 * How fast money is spent.
 *
 * Its one job: the last sixty minutes, as a card.
 */

import { post } from "../api.js";
import { h } from "../dom.js";
import { feed } from "../feed.js";
import { figure } from "../figure.js";
import { UNKNOWN, count, exact, money, short } from "../format.js";
import { every, throttled } from "../timing.js";
import { since } from "./covered.js";

const HOUR_MS = 3_600_000;

export function burnCard({ budget, signal }) {
  const card = figure({
    title: null,
    wide: "card w3",
    load: (stop) =>
      post(
        "/api/v1/usage/summary",
        { ...since(budget, new Date(Date.now() - HOUR_MS).toISOString()), group_by: [] },
        { signal: stop },
      ),
    draw: drawn,
    signal,
    lines: 4,
  });
  card.element.setAttribute("aria-label", "Burn rate");
  feed.on("usage missed", throttled(5_000, card.refresh, signal), signal);
  every(30_000, card.refresh, signal);
  return card.element;
}

function drawn({ total_cost: cost, request_count: calls, total_tokens: tokens, has_unpriced_usage: unpriced }) {
  return [
    h("div", { class: "head" }, h("h2", {}, "Burn rate"), h("span", { class: "small" }, "the last 60 minutes")),
    h(
      "p",
      { class: "sum" },
      h("span", { class: "big", title: exact(cost) }, money(cost)),
      h("span", { class: "of" }, "per hour"),
    ),
    h(
      "dl",
      { class: "facts" },
      [
        ["Calls", count(calls)],
        ["Tokens", short(tokens), count(tokens)],
        ["Per call", calls ? money(cost / calls) : UNKNOWN],
      ].map(([name, value, title]) => h("div", {}, h("dt", {}, name), h("dd", { title }, value))),
    ),
    h(
      "p",
      { class: "foot" },
      calls ? `${(calls / 60).toFixed(1)} calls a minute.` : "No calls.",
      unpriced && " Some have no known price.",
    ),
  ];
}
