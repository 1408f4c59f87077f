/**
 * List calls.
 *
 * Its one job: the pages of the list, by the API's cursor and in its order. Rule: what cannot be sorted by over all pages
 * cannot be sorted by.
 */

import { get } from "../api.js";
import { h } from "../dom.js";
import { figure } from "../figure.js";
import { UNKNOWN, count, exact, fine, milliseconds, when, whole, words } from "../format.js";
import { pager } from "../pager.js";
import { table } from "../table.js";
import { openRecord } from "./record.js";
import { spanOf } from "./usage_filters.js";

const LIMIT = 50;

const PAGING = {
  "-timestamp": { back: "Newer", on: "Older" },
  timestamp: { back: "Older", on: "Newer" },
  "-cost": { back: "Dearer", on: "Cheaper" },
  cost: { back: "Cheaper", on: "Dearer" },
};

/** Return `{element, restart}`; `chosen` is what is asked for, whose `sort` headings change. */
export function recordTable({ chosen, onSort, end, signal }) {
  let cursors = [null];

  const panel = figure({
    title: "Calls",
    end,
    flush: true,
    load: (stop) => {
      const asked = { ...chosen.filters, ...spanOf(chosen), sort: chosen.sort, limit: LIMIT, cursor: cursors.at(-1) };
      return get("/api/v1/usage/records", { query: asked, signal: stop });
    },
    draw: drawn,
    empty: "No call matches. A longer time or fewer filters may find some.",
    signal,
    lines: 12,
  });

  function sort(by) {
    chosen.sort = chosen.sort === `-${by}` ? by : `-${by}`;
    onSort();
    turn([null]);
  }

  function turn(to) {
    cursors = to;
    return panel.refresh();
  }

  function drawn({ items, total, total_exact: isExact, next_cursor: next }) {
    if (!items.length && cursors.length === 1) return null;
    const first = (cursors.length - 1) * LIMIT;
    return [
      table({
        caption: "Usage records",
        columns: COLUMNS(open),
        rows: items,
        sorted: { by: chosen.sort.replace("-", ""), down: chosen.sort.startsWith("-") },
        onSort: sort,
        rowKey: (record) => record.record_id,
      }),
      pager({
        text: `${count(first + 1)}–${count(first + items.length)} of ${isExact ? "" : "more than "}${count(total)}`,
        onBack: first ? () => turn(cursors.slice(0, -1)) : null,
        onOn: next ? () => turn([...cursors, next]) : null,
        ...PAGING[chosen.sort],
      }),
    ];
  }

  const open = (record) => openRecord({ id: record.record_id, signal });
  return { element: panel.element, restart: () => turn([null]) };
}

const COLUMNS = (open) => [
  {
    title: "When",
    sort: "timestamp",
    cell: (record) =>
      h(
        "button",
        {
          type: "button",
          class: "plain nowrap",
          title: whole(record.timestamp),
          "data-key": record.record_id,
          onClick: () => open(record),
        },
        when(record.timestamp, { seconds: true }),
      ),
  },
  { title: "Component", head: true, name: true, cell: (record) => record.component },
  { title: "Provider", spare: true, cell: (record) => record.provider },
  { title: "Model", name: true, cell: (record) => h("span", { title: record.model }, record.model) },
  { title: "Task", rare: true, cell: (record) => record.task_type ?? UNKNOWN },
  { title: "In", spare: true, num: true, cell: (record) => count(record.input_tokens) },
  { title: "Out", spare: true, num: true, cell: (record) => count(record.output_tokens) },
  {
    title: "Cost",
    num: true,
    sort: "cost",
    cell: (record) => h("span", { title: exact(record.cost) }, fine(record.cost)),
  },
  {
    title: "Basis",
    spare: true,
    cell: (record) => (record.corrects ? `${words(record.cost_basis)}, correction` : words(record.cost_basis)),
  },
  { title: "Took", rare: true, num: true, cell: (record) => milliseconds(record.latency_ms) },
  { title: "End", rare: true, cell: (record) => words(record.status) },
];
