/**
 * One window of a budget, as a card.
 *
 * Its one job: spend, limit, held, remaining and where it will end; moved by the live feed, asked for again for what
 * the feed does not say.
 */

import { get, post } from "../api.js";
import { bar, levelOf } from "../bar.js";
import { h } from "../dom.js";
import { feed } from "../feed.js";
import { figure } from "../figure.js";
import { PERIODS, UNKNOWN, count, exact, money, percent, span, when, whole } from "../format.js";
import { every, throttled } from "../timing.js";

export function windowCard({ budget, period, signal }) {
  let known = null;
  const card = figure({
    title: null,
    wide: "card w3",
    load: budget ? (stop) => ofBudget(budget, period, stop) : (stop) => ofAll(period, stop),
    draw: (summary) => drawCard((known = asFed(summary, budget)), budget),
    signal,
    lines: 4,
  });
  card.element.setAttribute("aria-label", `${PERIODS[period]}${budget ? `: ${budget.name}` : ""}`);
  card.element.dataset.period = period;
  // A period without a limit is not in the feed, and must not lag behind one that is.
  const isFed = budget !== null && budget[`${period}_limit`] !== null;
  const again = throttled(isFed ? 5_000 : 1_000, card.refresh, signal);
  const move = throttled(200, () => known && card.show(known), signal);

  if (budget) {
    const touched = () => (isFed && move(), again());
    feed.on("budget", (state) => state.budget_id === budget.budget_id && touched(), signal);
    feed.on("snapshot", touched, signal);
  } else {
    feed.on("usage missed", again, signal);
  }
  every(60_000, card.refresh, signal);
  return card.element;
}

/** Return a summary with the feed's figures of the same window, which are never older than an answer on its way. */
function asFed(summary, budget) {
  const moved = budget && feed.isLive ? feed.budgets.get(budget.budget_id)?.[summary.period] : null;
  // A window that has begun since has other ends, and another projection: those are asked for.
  return moved && moved.window_end === summary.end_time ? { ...summary, ...standing(moved) } : summary;
}

async function ofBudget(budget, period, signal) {
  const summaries = await get(`/api/v1/budgets/${encodeURIComponent(budget.budget_id)}/summary`, {
    query: { period },
    signal,
  });
  return summaries[0];
}

async function ofAll(period, signal) {
  const summary = await post("/api/v1/usage/summary", { period }, { signal });
  return {
    period,
    spent: summary.total_cost,
    limit: null,
    request_count: summary.request_count,
    total_tokens_used: summary.total_tokens,
    has_unpriced_usage: summary.has_unpriced_usage,
    start_time: summary.start_time,
    end_time: summary.end_time,
  };
}

function standing({ spent, held, limit }) {
  const remaining = limit === null ? null : limit - spent - held;
  return { spent, held, limit, remaining, usage_percent: limit ? (100 * spent) / limit : limit === 0 ? 100 : null };
}

function drawCard(summary, budget) {
  const { spent, held, limit, remaining } = summary;
  const level = held === undefined ? "fine" : levelOf(summary, budget?.warn_at);
  return [
    h(
      "div",
      { class: "head" },
      h("h2", {}, PERIODS[summary.period], h("span", { class: "small zone" }, zoneOf(summary, budget))),
      h("span", { class: "small" }, ending(summary)),
    ),
    h(
      "p",
      { class: "sum" },
      h("span", { class: "big", title: exact(spent), "data-figure": "spent" }, money(spent)),
      h("span", { class: "of", title: exact(limit) }, limit === null ? "no limit" : `of ${money(limit)}`),
    ),
    bar({ spent, held: held ?? 0, limit }, { warnAt: budget?.warn_at }),
    h("dl", { class: "facts" }, held === undefined ? used(summary) : parts(summary)),
    foot(outlook(summary, level, remaining)),
  ];
}

function foot(said) {
  return said.length > 0 && h("p", { class: "foot" }, said);
}

function parts({ usage_percent: share, spent, held, remaining, limit }) {
  return [
    fact("Spent", limit === null ? money(spent) : percent(share), exact(spent), "spent"),
    fact("Held", money(held), exact(held), "held"),
    fact("Remaining", limit === null ? UNKNOWN : money(remaining), exact(remaining), "left"),
  ];
}

function used({ request_count: calls, total_tokens_used: used_tokens }) {
  return [fact("Calls", count(calls)), fact("Tokens", count(used_tokens))];
}

function fact(name, value, title = null, key = null) {
  return h(
    "div",
    {},
    h("dt", {}, key && h("i", { class: `key ${key}` }), name),
    h("dd", { title, "data-figure": key }, value),
  );
}

/** Say in which zone the window is a day; it stands apart from when it ends, which is in the viewer's. */
function zoneOf({ end_time: end }, budget) {
  return end ? (budget?.timezone ?? "UTC") : "";
}

/** Say when the window ends, in the viewer's time. */
function ending({ end_time: end }) {
  if (!end) return "does not end";
  return h("span", { title: whole(end) }, `ends ${when(end)}, in ${span(new Date(end) - Date.now())}`);
}

function outlook(
  {
    projected,
    projected_low: low,
    projected_high: high,
    projected_early: early,
    exhausted_at: at,
    has_unpriced_usage: unpriced,
    limit,
  },
  level,
  remaining,
) {
  const said = [];
  if (level === "over")
    said.push(h("strong", {}, remaining < 0 ? `Over by ${money(-remaining)}.` : "Nothing is left."));
  else if (at && !early)
    said.push(
      h("strong", { title: whole(at) }, `Reaches the limit ${when(at)}, in ${span(new Date(at) - Date.now())}.`),
    );
  if (early) {
    said.push("Too early to say where it ends.");
  } else if (projected !== null && projected !== undefined) {
    said.push(
      h(
        "span",
        { title: exact(projected) },
        `Expected at the end: ${money(projected)} (${money(low)} – ${money(high)}).`,
      ),
    );
  } else if (limit !== null && level !== "over") {
    said.push("No projection yet.");
  }
  if (unpriced) said.push("Some calls have no known price, and are not in it.");
  return said.flatMap((part, index) => (index ? [" ", part] : [part]));
}
