/**
 * Give one window of a budget more.
 *
 * Its one job: the form of a grant, and the grants that there were.
 */

import { get, post } from "../api.js";
import { choice, field } from "../controls.js";
import { h, say } from "../dom.js";
import { figure } from "../figure.js";
import { PERIODS, exact, money, when, windowOf } from "../format.js";
import { table } from "../table.js";
import { amount } from "./budget_rules.js";

export function grantsPanel({ budget, periods, signal }) {
  const address = `/api/v1/budgets/${encodeURIComponent(budget.budget_id)}/grants`;
  const panel = figure({
    title: "Grants",
    wide: "w7",
    load: (stop) => get(address, { query: { limit: 20 }, signal: stop }),
    draw: ({ items }) => [form, items.length ? list(items, budget.timezone) : h("p", { class: "nothing" }, "Nothing was granted yet.")],
    signal,
    lines: 4,
  });
  const form = grantForm(address, periods, () => panel.refresh());
  return panel.element;
}

function grantForm(address, periods, given) {
  const period = field({
    label: "To this",
    control: choice(
      periods.map((one) => [one, PERIODS[one].toLowerCase()]),
      periods[0],
    ),
  });
  const more = field({ label: "Amount", name: "amount", isMoney: true, inputmode: "decimal" });
  const reason = field({ label: "Reason", name: "reason" });
  const problem = h("p", { class: "form-wrong", role: "alert" });
  const button = h("button", { type: "submit" }, "Grant");
  more.input.addEventListener("input", () =>
    more.wrong(isAmount(more.value) || !more.value ? null : "An amount above zero."),
  );

  async function give(event) {
    event.preventDefault();
    more.wrong(isAmount(more.value) ? null : "An amount above zero.");
    reason.wrong(reason.value ? null : "Say why: it is kept.");
    if (!isAmount(more.value)) return more.input.focus();
    if (!reason.value) return reason.input.focus();
    button.disabled = true;
    problem.textContent = "";
    try {
      await post(address, { period: period.value, amount: amount(more.value), reason: reason.value });
      say("It is granted.");
      more.input.value = reason.input.value = "";
      given();
    } catch (error) {
      for (const [name, sentence] of error.fields ?? []) ({ amount: more, reason })[name]?.wrong(sentence);
      problem.textContent = error.message;
    } finally {
      button.disabled = false;
    }
    return undefined;
  }
  return h(
    "form",
    { class: "filters", novalidate: true, onSubmit: give },
    period.element,
    more.element,
    reason.element,
    button,
    problem,
  );
}

function isAmount(text) {
  return amount(text) > 0;
}

/** Say which window: a total has been one since there is anything. */
function windowWords({ period, window_start: start }, zone) {
  const name = PERIODS[period].toLowerCase();
  return period === "total" ? name : `${name} of ${windowOf(start, period, zone)} (${zone})`;
}

function list(grants, zone) {
  return table({
    caption: "Grants, newest first",
    columns: [
      { title: "Given", head: true, cell: (one) => when(one.granted_at) },
      { title: "To the", cell: (one) => windowWords(one, zone) },
      { title: "Amount", num: true, cell: (one) => h("span", { title: exact(one.amount) }, money(one.amount)) },
      {
        title: "Counts",
        cell: (one) => (one.counts ? (one.expires_at ? `until ${when(one.expires_at)}` : "yes") : "no longer"),
      },
      { title: "Reason", cell: (one) => one.reason },
    ],
    rows: grants,
  });
}
