/**
 * Choose calls.
 *
 * Its one job: the line of filters over the list of calls, what of it stands in the address, and the span of time that
 * is meant, in the viewer's days.
 */

import { all, post } from "../api.js";
import { choice, field } from "../controls.js";
import { fill, freshId, h } from "../dom.js";
import { words } from "../format.js";
import { settled } from "../timing.js";

const SPANS = [
  ["hour", "Last hour"],
  ["today", "Today"],
  ["7d", "Last 7 days"],
  ["30d", "Last 30 days"],
  ["all", "All time"],
  ["own", "From … to …"],
];
const BASES = [
  "reported",
  "provider_cost",
  "partial",
  "estimated",
  "unconfirmed",
  "client",
  "free",
  "unpriced",
  "repriced",
];
const FILTERS = ["component", "provider", "model", "task_type", "cost_basis", "budget_id"];
const SORTS = ["-timestamp", "timestamp", "-cost", "cost"];
const DAY_MS = 86_400_000;

/** Return what an address has to say, so that it asks for the same: what is usual is left away. */
export function addressOf({ filters, span, from, until, sort }) {
  return { ...filters, span, from, until, sort: sort === SORTS[0] ? null : sort };
}

/** Return what an address asks for. */
export function filtersOf(query) {
  const span = SPANS.some(([name]) => name === query.get("span")) ? query.get("span") : "7d";
  const filters = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]));
  const sort = SORTS.includes(query.get("sort")) ? query.get("sort") : SORTS[0];
  return { filters, span, from: query.get("from") ?? "", until: query.get("until") ?? "", sort };
}

/** Whether a call that has just settled is one of those that are asked for, as far as it says. */
export function matches(record, { filters, span, until }) {
  const isNow = span !== "own" || !until || new Date(record.timestamp) < new Date(+midnight(until) + DAY_MS);
  return isNow && FILTERS.every((name) => name === "budget_id" || !filters[name] || filters[name] === record[name]);
}

/** Return the instants of a span, as the API takes them. */
export function spanOf({ span, from, until }) {
  if (span === "hour") return { start_date: new Date(Date.now() - 3_600_000).toISOString() };
  if (span === "all") return {};
  if (span === "own") {
    return {
      start_date: from ? midnight(from).toISOString() : undefined,
      end_date: until ? new Date(+midnight(until) + DAY_MS).toISOString() : undefined,
    };
  }
  const today = new Date();
  today.setHours(0, 0, 0, 0);
  const days = { today: 0, "7d": 6, "30d": 29 }[span];
  return { start_date: new Date(+today - days * DAY_MS).toISOString() };
}

/** Return the first moment of a date, where the viewer is. */
function midnight(date) {
  const [year, month, day] = date.split("-").map(Number);
  return new Date(year, month - 1, day);
}

export function usageFilters({ chosen, onChange, signal }) {
  const changed = settled(250, onChange, signal);
  const lists = new Map();
  const text = (name, label) => {
    const list = freshId("names");
    lists.set(name, h("datalist", { id: list }));
    const made = field({ label, value: chosen.filters[name], list, placeholder: "any" });
    made.input.addEventListener("input", () => ((chosen.filters[name] = made.value), changed()));
    return h("div", { class: "field" }, [...made.element.children], lists.get(name));
  };
  const select = (label, options, value, take) => {
    const control = choice(options, value);
    control.addEventListener("change", () => (take(control.value), onChange()));
    return field({ label, control });
  };
  const dates = h("div", { class: "line", hidden: chosen.span !== "own" }, date("From", "from"), date("To", "until"));
  function date(label, name) {
    const made = field({ label, type: "date", value: chosen[name] });
    made.input.addEventListener("change", () => ((chosen[name] = made.input.value), onChange()));
    return made.element;
  }
  const spans = select("When", SPANS, chosen.span, (value) => {
    chosen.span = value;
    dates.hidden = value !== "own";
  });
  const bases = [["", "any"], ...BASES.map((name) => [name, words(name)])];
  const budget = select("Budget", [["", "any"]], "", (value) => (chosen.filters.budget_id = value));
  const element = h(
    "form",
    { class: "filters panel-like", "aria-label": "Filters", onSubmit: (event) => event.preventDefault() },
    spans.element,
    dates,
    text("component", "Component"),
    text("provider", "Provider"),
    text("model", "Model"),
    text("task_type", "Task type"),
    select("Basis", bases, chosen.filters.cost_basis, (value) => (chosen.filters.cost_basis = value)).element,
    budget.element,
  );
  offer({ lists, budget, chosen, signal });
  return element;
}

/** Offer the names that calls have had, and the budgets that there are. */
async function offer({ lists, budget, chosen, signal }) {
  try {
    const [{ groups }, budgets] = await Promise.all([
      post("/api/v1/usage/summary", { days: 30 }, { signal }),
      all("/api/v1/budgets", { signal }),
    ]);
    for (const [name, list] of lists)
      fill(
        list,
        Object.keys(groups[name])
          .filter(Boolean)
          .map((value) => h("option", { value })),
      );
    budget.input.append(...budgets.map(({ budget_id: value, name }) => h("option", { value }, name)));
    budget.input.value = chosen.filters.budget_id;
  } catch {
    // Names can be typed; the list says what is the matter.
  }
}
