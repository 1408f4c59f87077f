/**
 * The overview: how the money stands, and where it goes.
 *
 * Its one job: choose whose figures and of which period, and put the panels in their places.
 */

import { all } from "../api.js";
import { choice, segments } from "../controls.js";
import { fill, h } from "../dom.js";
import { PERIOD_ORDER } from "../format.js";
import { feed } from "../feed.js";
import { bones } from "../figure.js";
import { keep } from "../router.js";
import { throttled } from "../timing.js";
import { burnCard } from "./burn.js";
import { callsPanel, topPanel } from "./calls.js";
import { coversAll } from "./covered.js";
import { sharePanels } from "./shares.js";
import { trendPanel } from "./trend.js";
import { windowCard } from "./window_card.js";

const PERIOD_CHOICE = [
  ["daily", "Day"],
  ["weekly", "Week"],
  ["monthly", "Month"],
];

export function view({ route, signal }) {
  const panels = h("div", {});
  const whose = h("span", {});
  const chosen = { budget: route.query.get("budget"), period: route.query.get("period") ?? "daily" };
  if (!PERIOD_CHOICE.some(([period]) => period === chosen.period)) chosen.period = "daily";
  let budgets = null;
  let drawn = null;

  async function start() {
    fill(panels, waiting());
    try {
      budgets = await all("/api/v1/budgets", { query: { is_active: true }, signal });
      chooser();
      draw();
    } catch (error) {
      if (error.name !== "AbortError") {
        fill(
          panels,
          h(
            "p",
            { class: "nothing", role: "alert" },
            `${error.message} `,
            h("button", { onClick: start }, "Try again"),
          ),
        );
      }
    }
  }

  function chooser() {
    const options = [...budgets.map((budget) => [budget.budget_id, budget.name]), ["all", "All calls"]];
    if (!options.some(([id]) => id === chosen.budget)) chosen.budget = usual(budgets);
    const select = choice(options, chosen.budget, { "aria-label": "Budget", "data-key": "whose" });
    select.addEventListener("change", () => change({ budget: select.value }));
    fill(whose, select);
  }

  /** Take what has become of budgets elsewhere; what is shown is drawn anew where it is of one that was changed. */
  async function again() {
    if (budgets === null) return;
    const before = JSON.stringify(shown());
    try {
      budgets = await all("/api/v1/budgets", { query: { is_active: true }, signal });
    } catch {
      return; // the panels say so, and the next event asks again
    }
    chooser();
    if (JSON.stringify(shown()) !== before) draw();
  }

  function shown() {
    return budgets.find((one) => one.budget_id === chosen.budget) ?? null;
  }

  function change(to) {
    Object.assign(chosen, to);
    keep(chosen);
    draw();
  }

  function draw() {
    drawn?.abort();
    const mine = (drawn = new AbortController());
    signal.addEventListener("abort", () => mine.abort(), { signal: mine.signal });
    const budget = shown();
    const context = { budget, period: chosen.period, signal: mine.signal };
    fill(
      panels,
      h(
        "div",
        { class: "grid" },
        periodsOf(budget).map((period) => windowCard({ ...context, period })),
        burnCard(context),
      ),
      h("div", { class: "grid" }, trendPanel(context), callsPanel(context)),
      h("div", { class: "grid" }, sharePanels(context)),
      topPanel(context),
    );
  }

  const anew = throttled(1_000, again, signal);
  feed.on("back", () => (budgets === null ? start() : anew()), signal);
  feed.on("budget", (state) => isNews(state, budgets ?? []) && anew(), signal);
  start();
  const periods = segments("Period of chart and shares", PERIOD_CHOICE, chosen.period, (period) => change({ period }));
  const head = h("div", { class: "view-head" }, h("h1", {}, "Overview"), h("div", { class: "end" }, whose, periods));
  return { title: "Overview", elements: [head, panels] };
}

/** Whether the feed tells of a budget what the list does not say: that it is new, or has another name or limits. */
function isNews(state, budgets) {
  const known = budgets.find((one) => one.budget_id === state.budget_id);
  if (!known) return state.is_active;
  const limited = PERIOD_ORDER.filter((period) => state[period] && state[period].limit !== null);
  const was = PERIOD_ORDER.filter((period) => known[`${period}_limit`] !== null);
  return known.name !== state.name || !state.is_active || limited.join() !== was.join();
}

function waiting() {
  return h(
    "div",
    { class: "panel", "data-state": "loading", "aria-busy": "true" },
    h("div", { class: "body" }, bones(9)),
  );
}

/** Return the budget of the whole, as the API's own summaries choose it. */
function usual(budgets) {
  const covering = budgets.filter(coversAll);
  return (covering.find((budget) => budget.name === "Default") ?? covering[0] ?? budgets[0])?.budget_id ?? "all";
}

function periodsOf(budget) {
  return PERIOD_ORDER.filter(
    (period) =>
      ["daily", "weekly", "monthly"].includes(period) || (budget !== null && budget[`${period}_limit`] !== null),
  );
}
