/**
 * Price the past at another model.
 *
 * Its one job: what is asked of `/api/v1/prices/what_if`, and its answer.
 */

import { post } from "../api.js";
import { asking, given } from "../asking.js";
import { field } from "../controls.js";
import { h } from "../dom.js";
import { count, exact, money, plural, words } from "../format.js";

export function whatIfPanel({ names, signal }) {
  const day = (ago) => new Date(Date.now() - ago * 86_400_000).toISOString().slice(0, 10);
  const fields = {
    from_model: field({ label: "Calls of model", list: names.models, required: true }),
    to_model: field({ label: "Priced as model", required: true }),
    to_provider: field({ label: "Of provider", list: names.providers, placeholder: "the same" }),
    component: field({ label: "Component", list: names.components, placeholder: "all" }),
    start_date: field({ label: "From (UTC day)", type: "date", value: day(29) }),
    end_date: field({ label: "To (UTC day)", type: "date", value: day(0) }),
  };
  const ask = async () => {
    const missing = ["from_model", "to_model", "start_date", "end_date"].filter((name) => !fields[name].value);
    for (const name of missing) fields[name].wrong("Is needed.");
    if (missing.length) {
      fields[missing[0]].input.focus();
      return null;
    }
    return post(
      "/api/v1/prices/what_if",
      given(Object.fromEntries(Object.entries(fields).map(([name, one]) => [name, one.value]))),
      { signal },
    );
  };
  return asking({
    title: "What if",
    intro: "What really happened, call by call, at another model's prices of the same day.",
    fields,
    label: "Price again",
    ask,
    draw: drawn,
  });
}

function drawn({
  records,
  compared,
  actual_cost: actual,
  what_if_cost: other,
  savings,
  savings_percent: percent,
  not_compared: left,
  to_model: to,
}) {
  if (!records) return h("p", { class: "muted" }, "No call of that model was recorded in this time.");
  const fact = (name, usd, note = null) =>
    h("div", {}, h("dt", {}, name), h("dd", { title: exact(usd) }, money(usd), note));
  const without = Object.entries(left).map(([why, number]) => `${count(number)} ${words(why)}`);
  return [
    h(
      "dl",
      { class: "facts" },
      fact("It cost", actual),
      fact(`At ${to}`, other),
      fact(savings < 0 ? "More" : "Less", Math.abs(savings), percent === null ? "" : ` (${Math.abs(percent)} %)`),
    ),
    h(
      "p",
      { class: "small muted" },
      `${count(compared)} of ${plural(records, "call")} compared`,
      without.length ? `; not: ${without.join(", ")}.` : ".",
    ),
  ];
}
