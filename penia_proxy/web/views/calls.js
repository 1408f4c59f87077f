/**
 * Calls as they settle, and what is used most.
 *
 * Its one job: two panels over one list of the newest records. What the feed says is put on top at once where every
 * call belongs to what is shown; where only some do, the feed does not say which, and the list is asked for again.
 */

import { get } from "../api.js";
import { h } from "../dom.js";
import { feed } from "../feed.js";
import { figure } from "../figure.js";
import { UNKNOWN, count, exact, fine, inColumn, milliseconds, plural, when, whole, words } from "../format.js";
import { to } from "../router.js";
import { table } from "../table.js";
import { every, throttled } from "../timing.js";
import { coversAll } from "./covered.js";

const SHOWN = 10;

function records(budget, query, signal) {
  return get("/api/v1/usage/records", { query: { ...query, budget_id: budget?.budget_id }, signal });
}

export function callsPanel({ budget, signal }) {
  let known = [];
  const panel = figure({
    title: "Calls as they settle",
    end: h("a", { href: to("usage", [], { budget_id: budget?.budget_id }) }, "All calls"),
    wide: "w4",
    flush: true,
    load: (stop) => records(budget, { limit: SHOWN }, stop),
    draw(found) {
      known = found.items;
      return known.length ? h("ol", { class: "tick-list" }, known.map(tick)) : null;
    },
    empty: "No call has been metered yet. Point a provider's SDK at this gateway, or run penia demo.",
    signal,
    lines: 9,
  });
  const again = throttled(2_000, panel.refresh, signal);
  const put = throttled(300, () => panel.show({ items: known }), signal);
  const isOfAll = budget === null || coversAll(budget);
  feed.on(
    "usage",
    (record) => {
      if (!isOfAll) return again();
      known = [record, ...known].slice(0, SHOWN);
      return put();
    },
    signal,
  );
  feed.on("missed", again, signal);
  return panel.element;
}

function tick(record) {
  const tokens = record.corrects ? "a correction" : plural(record.total_tokens, "token");
  const detail = [
    record.model,
    tokens,
    record.cost_basis === "reported" ? null : words(record.cost_basis),
    milliseconds(record.latency_ms),
  ];
  return h(
    "li",
    {},
    h(
      "time",
      { datetime: record.timestamp, title: whole(record.timestamp) },
      when(record.timestamp, { seconds: true }),
    ),
    h("a", { class: "who", href: to("usage", [record.record_id]), title: record.component }, record.component),
    h("span", { title: exact(record.cost) }, record.cost === null ? "unpriced" : fine(record.cost)),
    h("span", { class: "sub", title: record.model }, detail.filter((part) => part !== null).join(" · ")),
  );
}

export function topPanel({ budget, signal }) {
  const panel = figure({
    title: "Used most",
    end: h("span", { class: "small" }, "of the newest 2,000 calls"),
    flush: true,
    load: (stop) => records(budget, { limit: 1 }, stop),
    draw: ({ top_usage: top }) => (top.length ? topTable(top) : null),
    empty: "No calls.",
    signal,
    lines: 4,
  });
  feed.on("usage missed", throttled(10_000, panel.refresh, signal), signal);
  every(60_000, panel.refresh, signal);
  return panel.element;
}

function topTable(top) {
  const dollars = inColumn(top.map((one) => one.cost));
  return table({
    caption: "Models by cost, of the newest 2,000 calls",
    columns: [
      {
        title: "Model",
        head: true,
        name: true,
        cell: (one) => h("a", { href: to("usage", [], { model: one.model }) }, one.model),
      },
      { title: "Provider", spare: true, cell: (one) => one.provider },
      { title: "Calls", num: true, cell: (one) => count(one.requests) },
      { title: "Tokens", spare: true, num: true, cell: (one) => count(one.tokens) },
      {
        title: "Per call",
        spare: true,
        num: true,
        cell: (one) => (one.requests ? fine(one.cost / one.requests) : UNKNOWN),
      },
      { title: "Cost", num: true, cell: (one) => h("span", { title: exact(one.cost) }, dollars(one.cost)) },
    ],
    rows: top,
  });
}
