/**
 * One budget.
 *
 * Its one job: its windows, what it is, what was granted to it and what it refused.
 */

import { get, put, remove } from "../api.js";
import { action } from "../controls.js";
import { confirmed } from "../dialog.js";
import { fill, h } from "../dom.js";
import { figure } from "../figure.js";
import { capital, count, exact, money, when, whole, words } from "../format.js";
import { to } from "../router.js";
import { table } from "../table.js";
import { every } from "../timing.js";
import { limitWords, limitedPeriods, mannerMarks, scopeMarks } from "./budget_words.js";
import { grantsPanel } from "./grants.js";
import { windowCard } from "./window_card.js";

export function budgetDetail({ id, signal }) {
  const place = h("div", {}, h("p", { class: "wait", "data-state": "loading" }, "Loading…"));
  const address = `/api/v1/budgets/${encodeURIComponent(id)}`;

  async function load() {
    try {
      draw(await get(address, { signal }));
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(
        place,
        h("p", { class: "wait", role: "alert" }, `${error.message} `, h("button", { onClick: load }, "Try again")),
      );
    }
  }

  function draw(budget) {
    const problem = h("p", { class: "form-wrong", role: "alert" });
    const onError = (error) => (problem.textContent = error.message);
    const away = action("Deactivate", () => deactivate(budget), { onError, class: "grave" });
    const back = action("Activate", async () => draw(await put(address, { is_active: true })), { onError });
    const change = h("a", { class: "button", href: to("budgets", [id, "edit"]) }, "Change");
    const usage = h("a", { class: "button", href: to("usage", [], { budget_id: id }) }, "Its calls");
    const periods = limitedPeriods(budget);
    fill(
      place,
      h(
        "div",
        { class: "view-head" },
        h("h1", {}, budget.name),
        h("div", { class: "line" }, mannerMarks(budget)),
        h("div", { class: "end" }, usage, change, budget.is_active ? away : back),
      ),
      problem,
      h(
        "div",
        { class: "grid" },
        (periods.length ? periods : ["daily"]).map((period) => windowCard({ budget, period, signal })),
      ),
      h(
        "div",
        { class: "grid" },
        about(budget),
        budget.is_active && periods.length > 0 && grantsPanel({ budget, periods, signal }),
      ),
      refusals(budget, signal),
    );
  }

  async function deactivate(budget) {
    const sentence = `“${budget.name}” would no longer cover any call. Its records stay, and it can be activated again.`;
    if (await confirmed({ title: "Deactivate this budget?", sentence, label: "Deactivate", signal }))
      draw(await remove(address));
  }

  load();
  return [place];
}

function about(budget) {
  const facts = [
    ["Covers", h("span", { class: "line" }, scopeMarks(budget.scope))],
    ["Limits", limitWords(budget)],
    ["Calls without a price", words(budget.unpriced)],
    ["Warns from", `${Number((budget.warn_at * 100).toFixed(4))} %`],
    [
      "Calendar",
      `${budget.timezone}; weeks from ${capital(budget.week_start)}, months from day ${budget.month_start_day}`,
    ],
    ["Owner", budget.owner ?? "nobody"],
    ["Changed", whole(budget.updated_at)],
    ...(budget.description ? [["Description", budget.description]] : []),
  ];
  return h(
    "section",
    { class: "panel w5", "aria-label": "What it is" },
    h("header", {}, h("h2", {}, "What it is")),
    h(
      "div",
      { class: "body" },
      h(
        "dl",
        { class: "about" },
        facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
      ),
    ),
  );
}

function refusals(budget, signal) {
  const panel = figure({
    title: "What it refused",
    flush: true,
    load: (stop) => get("/api/v1/refusals", { query: { budget_id: budget.budget_id, limit: 10 }, signal: stop }),
    draw: ({ items, total }) =>
      items.length
        ? [
            table({
              caption: `The newest of ${total} refusals`,
              columns: [
                { title: "When", cell: (one) => when(one.at, { seconds: true }) },
                {
                  title: "Component",
                  head: true,
                  name: true,
                  cell: (one) => [one.component, h("div", { class: "small muted" }, one.model)],
                },
                { title: "Why", cell: (one) => words(one.code) },
                {
                  title: "Cost",
                  num: true,
                  cell: (one) => h("span", { title: exact(one.estimated_cost) }, money(one.estimated_cost)),
                },
              ],
              rows: items,
            }),
            total > items.length &&
              h("p", { class: "small muted pages" }, `The newest ${items.length} of ${count(total)}.`),
          ]
        : null,
    empty: "It has refused nothing.",
    signal,
    lines: 3,
  });
  every(15_000, panel.refresh, signal); // a refusal is no event of the feed
  return panel.element;
}
