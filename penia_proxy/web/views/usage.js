/**
 * Usage: every call there was.
 *
 * Its one job: the filters, what they come to, the list and its files; a record of the address is opened above it.
 */

import { path, post } from "../api.js";
import { h } from "../dom.js";
import { feed } from "../feed.js";
import { figure } from "../figure.js";
import { count, exact, money, plural, short } from "../format.js";
import { keep, to } from "../router.js";
import { throttled } from "../timing.js";
import { openRecord } from "./record.js";
import { recordTable } from "./record_table.js";
import { addressOf, filtersOf, matches, spanOf, usageFilters } from "./usage_filters.js";

const FORMATS = [
  ["csv", "CSV"],
  ["jsonl", "JSON Lines"],
  ["parquet", "Parquet"],
  ["focus", "FOCUS"],
];

export function view({ route, signal }) {
  const chosen = filtersOf(route.query);
  const exports = h("div", { class: "line" });
  const fresh = h("button", { type: "button", class: "plain", hidden: true, onClick: () => start() }, "");
  let unseen = 0;

  const sums = figure({
    title: null,
    load: (stop) => post("/api/v1/usage/summary", summaryBody(chosen), { signal: stop }),
    draw: sumLine,
    signal,
    lines: 1,
  });
  sums.element.setAttribute("aria-label", "What these calls come to");
  const list = recordTable({ chosen, onSort: () => keep(addressOf(chosen)), end: fresh, signal });

  function start() {
    unseen = 0;
    fresh.hidden = true;
    keep(addressOf(chosen));
    exports.replaceChildren(
      h("span", { class: "muted" }, "Export:"),
      ...FORMATS.map(([format, name]) => exportLink(chosen, format, name)),
    );
    sums.refresh();
    list.restart();
  }

  const news = throttled(
    1_000,
    () => {
      fresh.hidden = false;
      // The feed does not say which budgets a call was charged to.
      fresh.textContent = chosen.filters.budget_id ? "Look for new calls" : `Show ${plural(unseen, "new call")}`;
    },
    signal,
  );
  feed.on("usage", (record) => matches(record, chosen) && ((unseen += 1), news()), signal);
  feed.on("missed", ({ missed }) => ((unseen += missed ?? 1), news()), signal);

  const filters = usageFilters({ chosen, onChange: start, signal });
  const head = h("div", { class: "view-head" }, h("h1", {}, "Usage"), h("div", { class: "end" }, exports));
  exports.replaceChildren(
    h("span", { class: "muted" }, "Export:"),
    ...FORMATS.map(([format, name]) => exportLink(chosen, format, name)),
  );
  if (route.parts[0]) {
    openRecord({
      id: route.parts[0],
      signal,
      // Where the view has ended with it, the address is another's.
      onClose: () => !signal.aborted && history.replaceState(null, "", to("usage", [], addressOf(chosen))),
    });
  }
  return { title: "Usage", elements: [head, filters, sums.element, list.element] };
}

/** The list's span; without a start, as far back as there may be anything. */
function summaryBody(chosen) {
  const { start_date: start, end_date: end } = spanOf(chosen);
  const filters = Object.fromEntries(Object.entries(chosen.filters).filter(([, value]) => value));
  return { ...filters, group_by: [], start_time: start ?? "2000-01-01T00:00:00Z", ...(end ? { end_time: end } : {}) };
}

function exportLink(chosen, format, name) {
  const href = path("/api/v1/usage/export", { format, ...chosen.filters, ...spanOf(chosen) });
  return h("a", { class: "button", href, download: "", "aria-label": `Export as ${name}` }, name);
}

function sumLine({
  total_cost: cost,
  request_count: calls,
  total_input_tokens: sent,
  total_output_tokens: received,
  has_unpriced_usage: unpriced,
}) {
  const fact = (name, value, title) => h("div", {}, h("dt", {}, name), h("dd", { title }, value));
  return h(
    "dl",
    { class: "facts strip" },
    fact("Cost", money(cost), exact(cost)),
    fact("Calls", count(calls), null),
    fact("Per call", calls ? money(cost / calls) : "–", calls ? exact(cost / calls) : null),
    fact("Input tokens", short(sent), count(sent)),
    fact("Output tokens", short(received), count(received)),
    fact("Without a price", unpriced ? "some; they are in no cost" : "none", null),
  );
}
