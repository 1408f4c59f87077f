/**
 * What models cost.
 *
 * Its one job: the price list of a provider, and what one model has cost before.
 */

import { all, get } from "../api.js";
import { choice, field } from "../controls.js";
import { open } from "../dialog.js";
import { h } from "../dom.js";
import { figure } from "../figure.js";
import { UNKNOWN, plural, short, words } from "../format.js";
import { inOrder, table } from "../table.js";
import { settled } from "../timing.js";

const MILLION = 1e6;
const OTHER = "";

export function pricesPanel({ signal }) {
  const provider = choice([["", "Loading…"]], "", { disabled: true });
  const catalogue = field({ label: "Other provider", placeholder: "such as openai" });
  const search = field({ label: "Model", placeholder: "any", type: "search" });
  const ready = providers(provider, signal);
  let known = [];
  let sorted = { by: "model", down: false };
  const panel = figure({
    title: "Prices, in US dollars for a million tokens",
    flush: true,
    end: h(
      "div",
      { class: "filters" },
      field({ label: "Provider", control: provider }).element,
      catalogue.element,
      search.element,
    ),
    async load(stop) {
      await ready;
      const name = catalogue.value || provider.value;
      return name ? all("/api/v1/prices", { query: { provider: name }, signal: stop }) : [];
    },
    draw: (prices) => drawn((known = prices)),
    empty: "No price is known of this provider; its models, and how to add a price, are in pricing/README.md.",
    signal,
    lines: 8,
  });
  const again = () => panel.show(known);
  provider.addEventListener("change", () => ((catalogue.input.value = ""), panel.refresh()));
  catalogue.input.addEventListener("input", settled(400, panel.refresh, signal));
  search.input.addEventListener("input", settled(120, again, signal));

  function drawn(prices) {
    if (!prices.length) return null;
    const wanted = search.value.toLowerCase();
    const rows = prices.filter(({ model, name }) => `${model} ${name ?? ""}`.toLowerCase().includes(wanted));
    return [
      table({
        caption: "Prices",
        columns: columns((line) => openHistory(line, signal)),
        rows: inOrder(rows, sorted.by, sorted.down),
        sorted,
        onSort(by) {
          sorted = { by, down: sorted.by === by && !sorted.down };
          again();
        },
      }),
      h(
        "p",
        { class: "pages" },
        `${plural(rows.length, "model")}${wanted ? ` of ${prices.length}` : ""}; ${prices[0].version}`,
      ),
    ];
  }
  return panel.element;
}

/** Put the configured providers in the select. */
async function providers(select, signal) {
  const found = await all("/api/v1/providers", { signal });
  const options = found.map(({ name }) => h("option", { value: name }, name));
  select.replaceChildren(...(options.length ? options : [h("option", { value: OTHER }, "none is configured")]));
  select.disabled = options.length === 0;
}

const columns = (show) => [
  {
    title: "Model",
    head: true,
    name: true,
    sort: "model",
    cell: (line) => h("span", { title: line.name }, line.model),
  },
  { title: "Input", num: true, sort: "input_cost_per_token", cell: (line) => perMillion(line.input_cost_per_token) },
  { title: "Output", num: true, sort: "output_cost_per_token", cell: (line) => perMillion(line.output_cost_per_token) },
  {
    title: "From cache",
    spare: true,
    num: true,
    sort: "cache_read_cost_per_token",
    cell: (line) => perMillion(line.cache_read_cost_per_token),
  },
  {
    title: "Into cache",
    spare: true,
    num: true,
    sort: "cache_write_cost_per_token",
    cell: (line) => perMillion(line.cache_write_cost_per_token),
  },
  { title: "Context", spare: true, num: true, sort: "context_window", cell: (line) => short(line.context_window) },
  { title: "Source", spare: true, sort: "source", cell: (line) => line.source },
  {
    title: h("span", { class: "unseen" }, "Actions"),
    cell: (line) =>
      h(
        "button",
        { type: "button", class: "plain", "aria-label": `All prices of ${line.model}`, onClick: () => show(line) },
        "All",
      ),
  },
];

function perMillion(cost) {
  if (cost === null) return UNKNOWN;
  const usd = Number((cost * MILLION).toPrecision(12));
  return `$${usd.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 6 })}`;
}

function openHistory({ provider, model }, signal) {
  const address = `/api/v1/prices/history/${encodeURIComponent(provider)}/${encodeURIComponent(model)}`;
  const make = (mine) =>
    figure({
      title: "By time",
      load: (stop) => get(address, { signal: stop }),
      draw: ({ items }) => [...items].reverse().map(stretch),
      empty: "None is known.",
      signal: mine,
      lines: 5,
      level: "h3",
    }).element;
  open({ title: `${provider} ${model}`, wide: true, make, signal });
}

function stretch({ start_date: start, end_date: end, prices, varies, source }) {
  const rows = Object.entries(prices);
  return h(
    "div",
    { class: "stretch" },
    h("h3", {}, `${start ? `From ${start}` : "Since ever"}${end ? ` until ${end}` : start ? " on" : ""}`),
    h("p", { class: "small muted" }, `${source}${varies ? "; other prices hold at some hours" : ""}`),
    table({
      caption: "Prices of this time",
      columns: [
        { title: "Of", head: true, cell: ([key]) => words(key.replace(/_(mtok|kcount)$/, "")) },
        {
          title: "US dollars",
          num: true,
          cell: ([, { cost, tiers }]) =>
            [String(cost), ...tiers.map((tier) => `${tier.cost} above ${short(tier.above)}`)].join("; "),
        },
        { title: "For", num: true, cell: ([, { per }]) => per.toLocaleString("en-US") },
      ],
      rows,
    }),
  );
}
