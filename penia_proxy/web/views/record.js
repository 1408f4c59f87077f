/**
 * Show one call.
 *
 * Its one job: a record with its basis, and what its verdict was made of, above the view.
 */

import { get } from "../api.js";
import { open } from "../dialog.js";
import { h } from "../dom.js";
import { figure } from "../figure.js";
import { PERIODS, UNKNOWN, count, exact, milliseconds, whole, words } from "../format.js";

const BASIS = {
  reported: "the provider's answer states its usage",
  provider_cost: "the provider's answer states its cost",
  partial: "the answer broke off; what came was counted",
  estimated: "nothing that came states its usage; it was counted",
  unconfirmed: "it was sent and nobody said how it ended; booked at what was held",
  client: "the component says so",
  free: "it costs nothing",
  unpriced: "no price is known",
  repriced: "the correction that gives an unpriced record its price",
};

export function openRecord({ id, signal, onClose = () => {} }) {
  const address = `/api/v1/usage/records/${encodeURIComponent(id)}`;
  const panel = (title, path, draw, lines, mine) =>
    figure({ title, load: (stop) => get(path, { signal: stop }), draw, signal: mine, lines, level: "h3" }).element;
  const make = (mine) => [
    panel("The call", address, factsOf, 8, mine),
    panel("Why it passed", `${address}/explain`, explained, 4, mine),
  ];
  open({ title: "A call", wide: true, make, signal, onClose });
}

function factsOf(record) {
  const tokens = [
    `${count(record.input_tokens)} in`,
    record.cache_read_tokens && `${count(record.cache_read_tokens)} of them from a cache`,
    record.cache_write_tokens && `${count(record.cache_write_tokens)} into a cache`,
    `${count(record.output_tokens)} out`,
    record.reasoning_tokens && `${count(record.reasoning_tokens)} of them reasoning`,
  ].filter(Boolean);
  const tags = Object.entries(record.tags).map(([name, value]) => `${name}=${value}`);
  const pairs = [
    ["When", whole(record.timestamp)],
    ["Component", record.component],
    ["Provider and model", `${record.provider} ${record.model}`],
    ["Asked for", record.metadata.model_requested ?? record.model],
    ["Cost", record.cost === null ? "unknown" : exact(record.cost)],
    ["of input, of output", `${exact(record.input_cost)}, ${exact(record.output_cost)}`],
    ["Basis", `${words(record.cost_basis)}: ${BASIS[record.cost_basis]}`],
    ["Held before", exact(record.estimated_cost)],
    ["Prices", record.pricing_version ?? UNKNOWN],
    ["Tokens", tokens.join(", ")],
    [
      "Took",
      `${milliseconds(record.latency_ms)}, first byte after ${milliseconds(record.ttft_ms)}` +
        (record.streamed ? ", streamed" : ""),
    ],
    ["Ended", words(record.status)],
    ...(record.task_type ? [["Task type", record.task_type]] : []),
    ...(tags.length ? [["Tags", tags.join(", ")]] : []),
    ...(record.corrects ? [["Corrects", record.corrects]] : []),
    ["Record", h("code", {}, record.record_id)],
  ];
  return h(
    "dl",
    { class: "about" },
    pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

function explained({ verdict, reason, budgets }) {
  return [
    h(
      "p",
      {},
      verdict &&
        h("span", { class: "chip", "data-tone": { allow: "good", warn: "warn", block: "bad" }[verdict] }, verdict),
      " ",
      reason,
    ),
    budgets.length
      ? h(
          "ul",
          { class: "stack words" },
          budgets.map(({ name, budget_id: id, windows }) =>
            h(
              "li",
              {},
              h("strong", {}, name ?? id),
              windows.length ? h("ul", {}, windows.map(word)) : h("p", { class: "muted" }, "It was charged."),
            ),
          ),
        )
      : h("p", { class: "muted" }, "No budget covered it."),
  ];
}

function word({ period, verdict, why }) {
  return h(
    "li",
    { class: "small" },
    h("span", { class: "muted" }, `${PERIODS[period]}: ${verdict}. `),
    h("span", {}, why),
  );
}
