/**
 * Spend over time against the limit.
 *
 * Its one job: what was spent since the window's start, hour by hour and added up; the limit; where it is expected to
 * end. The same figures stand below as a table, for whoever does not see the chart.
 */

import { get, post } from "../api.js";
import { fill, h } from "../dom.js";
import { feed } from "../feed.js";
import { figure } from "../figure.js";
import { PERIODS, count, exact, inColumn, money, when } from "../format.js";
import { colour, plot, washed } from "../plot.js";
import { table } from "../table.js";
import { every, throttled } from "../timing.js";

export function trendPanel({ budget, period, signal }) {
  const chart = h("div", { class: "chart wait" }, h("span", { class: "muted" }, "Loading the chart…"));
  chart.setAttribute("role", "img");
  const legend = h("div", { class: "legend-row" });
  const figures = h("div", {});
  const details = h("details", { class: "data" }, h("summary", {}, "As a table"), figures);
  const isLimited = budget !== null && budget[`${period}_limit`] !== null;
  let known = null;
  let redraw = null;
  const panel = figure({
    title: `Spend this ${PERIODS[period].toLowerCase()}${isLimited ? ", against the limit" : ""}`,
    end: legend,
    wide: "w8 fills",
    load: (stop) => load(budget, period, stop),
    draw(data) {
      if (!data.points.some((point) => point.count)) return null;
      known = data;
      const last = data.points.at(-1);
      chart.setAttribute(
        "aria-label",
        `${money(last?.sum ?? 0)} spent${data.limit === null ? "" : ` of ${money(data.limit)}`}, hour by hour; ` +
          "the table below has the figures.",
      );
      legend.replaceChildren(...legendOf(data));
      redraw ??= plot(chart, () => tracesOf(known), signal);
      redraw();
      fill(figures, asTable(data));
      return [chart, details];
    },
    empty: "No calls in this period.",
    signal,
    lines: 8,
  });
  feed.on("usage missed", throttled(10_000, panel.refresh, signal), signal);
  every(60_000, panel.refresh, signal);
  return panel.element;
}

async function load(budget, period, signal) {
  const frame = budget
    ? (await get(`/api/v1/budgets/${encodeURIComponent(budget.budget_id)}/summary`, { query: { period }, signal }))[0]
    : { ...(await post("/api/v1/usage/summary", { period, group_by: [] }, { signal })), limit: null, projected: null };
  const found = await get("/api/v1/usage/timeseries", {
    query: { bucket: "hour", budget_id: budget?.budget_id, start_date: frame.start_time },
    signal,
  });
  let sum = 0;
  const points = found.series[0].points.map(({ start, cost, count }, index, list) => {
    sum += cost;
    return { start, end: list[index + 1]?.start ?? found.end_time, cost, count, sum };
  });
  const { limit, projected_low: low, projected_high: high, start_time: start, end_time: end } = frame;
  const projected = frame.projected_early ? null : frame.projected;
  return { points, start, end, now: found.end_time, limit, projected, low, high };
}

function tracesOf({ points, start, end, now, limit, projected, low, high }) {
  const sum = points.at(-1)?.sum ?? 0;
  const quiet = { type: "scatter", mode: "lines", hoverinfo: "skip" };
  const until = end ?? now;
  const traces = [
    {
      ...quiet,
      hoverinfo: undefined,
      name: "Spent",
      x: [local(start), ...points.map((point) => local(point.end))],
      y: [0, ...points.map((point) => point.sum)],
      line: { color: colour("spent"), width: 2 },
      fill: "tozeroy",
      fillcolor: washed("spent", 0.13),
      hovertemplate: "%{y:$,.4f}<extra></extra>",
    },
  ];
  if (limit !== null) {
    traces.push({
      ...quiet,
      x: [local(start), local(until)],
      y: [limit, limit],
      line: { color: colour("bad-fill"), width: 1.5, dash: "dash" },
    });
  }
  if (projected !== null && projected !== undefined && end) {
    const line = { color: colour("muted"), width: 0 };
    const ends = [local(now), local(end)];
    traces.push({ ...quiet, x: ends, y: [sum, low], line });
    traces.push({ ...quiet, x: ends, y: [sum, high], line, fill: "tonexty", fillcolor: washed("muted", 0.14) });
    traces.push({ ...quiet, x: ends, y: [sum, projected], line: { ...line, width: 1.5, dash: "dot" } });
  }
  // What is expected may be far beyond the limit, or unlikely to be so much; what was spent must still be seen.
  const most = Math.max(sum, limit ?? 0, Math.min(high ?? 0, 1.4 * Math.max(limit ?? 0, 3 * sum))) || 1;
  const layout = {
    xaxis: { range: [local(start), local(until)], type: "date" },
    yaxis: { range: [0, most * 1.06], nticks: 6, tickformat: most < 0.1 ? ",.4f" : most < 20 ? ",.2f" : ",~r" },
  };
  return { traces, layout };
}

/** Return an instant as Plotly takes it: the viewer's own time, without a zone. */
function local(iso) {
  const at = new Date(iso);
  return new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function legendOf({ limit, projected, end }) {
  const entry = (form, token, text) =>
    h("span", {}, h("i", { class: form, style: { "border-color": `var(--${token})` } }), text);
  return [
    entry("", "spent", "spent"),
    ...(limit === null ? [] : [entry("dashed", "bad-fill", "limit")]),
    ...(projected === null || projected === undefined || !end ? [] : [entry("dotted", "muted", "expected")]),
  ];
}

function asTable({ points }) {
  const dollars = inColumn(points.map((point) => point.sum));
  return table({
    caption: "Spend by hour",
    columns: [
      { title: "From", head: true, cell: (point) => when(point.start) },
      { title: "Calls", num: true, cell: (point) => count(point.count) },
      { title: "Cost", num: true, cell: (point) => h("span", { title: exact(point.cost) }, dollars(point.cost)) },
      { title: "So far", num: true, cell: (point) => h("span", { title: exact(point.sum) }, dollars(point.sum)) },
    ],
    rows: [...points].reverse(),
  });
}
