/**
 * All budgets, and how each stands.
 *
 * Its one job: the list, moved by the live feed, whose states are the figures of it.
 */

import { all } from "../api.js";
import { bar } from "../bar.js";
import { field, segments } from "../controls.js";
import { h } from "../dom.js";
import { feed } from "../feed.js";
import { figure } from "../figure.js";
import { PERIODS, count, exact, money, percent, plural } from "../format.js";
import { pager } from "../pager.js";
import { to } from "../router.js";
import { settled, throttled } from "../timing.js";
import { limitedPeriods, mannerMarks, scopeMarks } from "./budget_words.js";

const LIMIT = 25;

export function budgetList({ signal }) {
  let shown = "active";
  let known = [];
  let page = 1;
  const search = field({ label: "Find", type: "search", placeholder: "name, owner, scope" });
  const choose = segments(
    "Which budgets",
    [
      ["active", "Active"],
      ["all", "All"],
    ],
    shown,
    (which) => {
      shown = which;
      page = 1;
      panel.refresh();
    },
  );
  const panel = figure({
    title: "All budgets",
    end: [search.element, choose],
    flush: true,
    load: (stop) => all("/api/v1/budgets", { query: { is_active: shown === "active" ? true : null }, signal: stop }),
    draw(budgets) {
      known = budgets;
      return budgets.length ? drawn(found(budgets, search.value)) : null;
    },
    empty: "There is no budget yet: calls are metered, and nothing limits them. Create one.",
    signal,
    lines: 6,
  });

  function drawn(budgets) {
    const last = Math.max(1, Math.ceil(budgets.length / LIMIT));
    page = Math.min(page, last);
    const first = (page - 1) * LIMIT;
    const turn = (to_page) => {
      page = to_page;
      panel.show(known);
    };
    const text = `${plural(budgets.length, "budget")}, page ${count(page)} of ${count(last)}`;
    const [onBack, onOn] = [page > 1 && (() => turn(page - 1)), page < last && (() => turn(page + 1))];
    return [
      budgets.length
        ? h("ul", {}, budgets.slice(first, first + LIMIT).map(entry))
        : h("p", { class: "nothing" }, "No budget has this in its name, owner or scope."),
      known.length > LIMIT && pager({ text, onBack: onBack || null, onOn: onOn || null, back: "Before", on: "Next" }),
    ];
  }
  search.input.addEventListener(
    "input",
    settled(120, () => ((page = 1), panel.show(known)), signal),
  );
  const again = throttled(300, () => panel.show(known), signal);
  const anew = throttled(1_000, panel.refresh, signal);
  // A budget that somebody else has just made, or renamed, is in the feed before it is in the list.
  feed.on(
    "budget",
    (state) => {
      const mine = known.find((budget) => budget.budget_id === state.budget_id);
      if (mine?.name === state.name && mine.is_active === state.is_active) again();
      else anew();
    },
    signal,
  );
  feed.on("snapshot", again, signal);
  return panel.element;
}

/** Return the budgets in whose name, owner or scope a text is. */
function found(budgets, text) {
  const wanted = text.toLowerCase();
  const said = ({ name, owner, scope }) =>
    [name, owner, ...scope.components, ...scope.providers, ...scope.models, ...Object.entries(scope.tags).flat()];
  return wanted ? budgets.filter((one) => said(one).join("\n").toLowerCase().includes(wanted)) : budgets;
}

function entry(budget) {
  const state = feed.budgets.get(budget.budget_id);
  const link = (label, parts) =>
    h(
      "a",
      {
        class: "button",
        href: to("budgets", parts),
        "data-key": `${label}-${budget.budget_id}`,
        "aria-label": `${label} ${budget.name}`,
      },
      label,
    );
  return h(
    "li",
    { class: "budget", "data-budget": budget.budget_id },
    h(
      "div",
      { class: "id" },
      h("a", { href: to("budgets", [budget.budget_id]), "data-key": `open-${budget.budget_id}` }, budget.name),
      budget.description && h("p", { class: "small muted" }, budget.description),
      h("div", { class: "line" }, mannerMarks(budget)),
      h("div", { class: "line" }, scopeMarks(budget.scope)),
    ),
    h("div", { class: "windows" }, windows(budget, state)),
    h("div", { class: "do" }, link("Open", [budget.budget_id]), link("Change", [budget.budget_id, "edit"])),
  );
}

function windows(budget, state) {
  const periods = limitedPeriods(budget);
  if (!budget.is_active) return h("p", { class: "muted" }, "It covers no call; its records stay.");
  if (!state)
    return h("p", { class: "muted" }, feed.isLive ? "Its figures are with its page." : "Its figures are on their way…");
  return (periods.length ? periods : ["daily"]).map((period) => {
    const standing = state[period];
    if (!standing) return null;
    const { spent, held, limit } = standing;
    const left = limit === null ? null : limit - spent - held;
    return h(
      "div",
      { class: "window" },
      h("span", { class: "small" }, PERIODS[period]),
      bar(standing, { warnAt: budget.warn_at, thin: true }),
      h(
        "p",
        { class: "amounts" },
        h(
          "span",
          {},
          h("b", { title: exact(spent), "data-figure": "spent" }, money(spent)),
          limit === null ? " spent, no limit" : ` of ${money(limit)}`,
        ),
        limit !== null && limit > 0 && h("span", {}, percent((100 * spent) / limit)),
        h("span", { title: exact(held) }, `held ${money(held)}`),
        left !== null &&
          h("span", { title: exact(left) }, left < 0 ? `over by ${money(-left)}` : `left ${money(left)}`),
      ),
    );
  });
}
