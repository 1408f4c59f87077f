/**
 * Find a model that costs less.
 *
 * Its one job: what is asked of `/api/v1/prices/recommend`, and its answer with the evidence it rests on.
 */

import { post } from "../api.js";
import { asking, given, whole } from "../asking.js";
import { checkbox, field } from "../controls.js";
import { h } from "../dom.js";
import { count, exact, fine, inColumn, plural, short, words } from "../format.js";
import { table } from "../table.js";
import { amount } from "./budget_rules.js";

const NEEDS = ["vision", "tools", "json", "reasoning", "audio_input", "audio_output"];

export function recommendPanel({ names, signal }) {
  const fields = {
    component: field({ label: "Component", list: names.components, placeholder: "all calls" }),
    model: field({ label: "Present model", list: names.models, placeholder: "what costs most" }),
    provider: field({ label: "Its provider", list: names.providers, placeholder: "any" }),
    max_cost: field({ label: "A call may cost", isMoney: true, inputmode: "decimal", placeholder: "any" }),
    input_tokens: field({ label: "Or: input tokens", inputmode: "numeric", placeholder: "as recorded" }),
    output_tokens: field({ label: "and output tokens", inputmode: "numeric", placeholder: "as recorded" }),
  };
  const needs = NEEDS.map((name) => [name, checkbox(words(name), false)]);
  const ask = () => {
    const cost = amount(fields.max_cost.value);
    const body = given({
      component: fields.component.value,
      model: fields.model.value,
      provider: fields.provider.value,
      max_cost: Number.isNaN(cost) ? fields.max_cost.value : cost,
      input_tokens: whole(fields.input_tokens.value),
      output_tokens: whole(fields.output_tokens.value),
    });
    body.needs = needs.filter(([, { input }]) => input.checked).map(([name]) => name);
    return post("/api/v1/prices/recommend", body, { signal });
  };
  return asking({
    title: "Recommendations",
    intro:
      "What recorded calls would come to at every model that can do them. " +
      "Whether its answers are as good, nobody here can say.",
    fields,
    extra: [
      h(
        "div",
        { class: "line", role: "group", "aria-label": "What the calls need" },
        needs.map(([, { element }]) => element),
      ),
    ],
    label: "Recommend",
    ask,
    draw: drawn,
  });
}

function drawn({
  items,
  current_model: model,
  current_provider: provider,
  current_cost: cost,
  optimization_tips: tips,
  evidence,
  left_out: left,
}) {
  const dollars = inColumn([cost, ...items.map((item) => item.estimated_cost)]);
  const present = model
    ? `Now: ${provider ?? "?"} ${model}, ${cost === null ? "no price known" : `${fine(cost)} a call`}.`
    : "No recorded call matches.";
  const rests = evidence
    ? ` It rests on ${plural(evidence.calls, "call")} of ${mean(evidence.input_tokens)} tokens in and ` +
      `${mean(evidence.output_tokens)} out each.`
    : "";
  const without = Object.entries(left).map(([why, number]) => `${count(number)} ${words(why)}`);
  return [
    h("p", {}, present, rests),
    items.length
      ? table({
          caption: "Models that can do it, cheapest first",
          columns: [
            { title: "Model", head: true, name: true, cell: (item) => h("span", { title: item.reason }, item.model) },
            { title: "Provider", cell: (item) => item.provider },
            {
              title: "A call",
              num: true,
              cell: (item) => h("span", { title: exact(item.estimated_cost) }, dollars(item.estimated_cost)),
            },
            {
              title: "Saves",
              num: true,
              cell: (item) => (item.savings_percent === null ? "–" : `${item.savings_percent} %`),
            },
            { title: "Context", num: true, cell: (item) => short(item.context_window) },
          ],
          rows: items,
        })
      : model && h("p", { class: "muted" }, "No other model is known to do it."),
    tips.length > 0 &&
      h(
        "ul",
        { class: "tips" },
        tips.map((tip) => h("li", {}, tip)),
      ),
    without.length > 0 && h("p", { class: "small muted" }, `Left out: ${without.join(", ")}.`),
  ];
}

function mean(tokens) {
  return count(Math.round(tokens));
}
