/**
 * Who and what the money went to.
 *
 * Its one job: the cost of a period by provider, by model and by component.
 */

import { get, post } from "../api.js";
import { h } from "../dom.js";
import { feed } from "../feed.js";
import { figure } from "../figure.js";
import { exact, inColumn, percent, plural, short } from "../format.js";
import { to } from "../router.js";
import { every, shared, throttled } from "../timing.js";
import { since } from "./covered.js";

const SHOWN = 6;
const KINDS = [
  ["providers", "provider", "By provider"],
  ["models", "model", "By model"],
  ["components", "component", "By component"],
];

export function sharePanels({ budget, period, signal }) {
  const load = shared(500, (stop) => summaryOf(budget, period, stop));
  const panels = KINDS.map(([list, filter, title]) =>
    figure({
      title,
      wide: "third",
      load,
      draw: (summary) => drawn(summary[list], filter, budget),
      empty: "No calls in this period.",
      signal,
      lines: 4,
    }),
  );
  const refresh = () => Promise.all(panels.map((panel) => panel.refresh()));
  feed.on("usage missed", throttled(5_000, refresh, signal), signal);
  every(60_000, refresh, signal);
  return panels.map((panel) => panel.element);
}

/** Return what was used since the start of a period's present window. */
async function summaryOf(budget, period, signal) {
  if (budget === null) return post("/api/v1/usage/summary", { period }, { signal });
  const address = `/api/v1/budgets/${encodeURIComponent(budget.budget_id)}/summary`;
  const [window] = await get(address, { query: { period }, signal });
  return post("/api/v1/usage/summary", since(budget, window.start_time), { signal });
}

function drawn(ranked, filter, budget) {
  const most = ranked[0]?.percentage || 1;
  const dollars = inColumn(ranked.map((one) => one.cost));
  const rows = ranked.slice(0, SHOWN).map((one) =>
    h(
      "li",
      { class: "share" },
      h(
        "a",
        {
          class: "name",
          href: to("usage", [], { [filter]: one.name, budget_id: budget?.budget_id }),
          title: one.name,
        },
        one.name,
      ),
      h(
        "span",
        { title: `${exact(one.cost)}, ${plural(one.tokens, "token")}` },
        one.cost === 0 && one.tokens ? `${short(one.tokens)} tokens` : dollars(one.cost),
      ),
      h("span", { class: "part" }, percent(one.percentage)),
      h(
        "div",
        { class: "bar", "aria-hidden": "true" },
        h("i", { class: "spent", style: { width: `${(100 * one.percentage) / most}%` } }),
      ),
    ),
  );
  const rest = ranked.slice(SHOWN);
  if (!rows.length) return null;
  const cost = rest.reduce((sum, one) => sum + one.cost, 0);
  return [
    h("ul", {}, rows),
    rest.length > 0 && h("p", { class: "small muted" }, `${plural(rest.length, "other")}: ${dollars(cost)}`),
  ];
}
