/**
 * List calls.
 *
 * Its one job: the pages of the list, by the API's cursor, and the order within one.
 */

import { get } from "../api.js";
import { h } from "../dom.js";
import { figure } from "../figure.js";
import { UNKNOWN, count, exact, fine, milliseconds, when, whole, words } from "../format.js";
import { pager } from "../pager.js";
import { inOrder, table } from "../table.js";
import { openRecord } from "./record.js";

const LIMIT = 50;

/** Return `{element, restart}`; `query()` returns what is asked for. */
export function recordTable({ query, end, signal }) {
  let cursors = [null];
  let sorted = { by: "timestamp", down: true };
  let known = null;

  const panel = figure({
    title: "Calls",
    end,
    flush: true,
    load: (stop) =>
      get("/api/v1/usage/records", { query: { ...query(), limit: LIMIT, cursor: cursors.at(-1) }, signal: stop }),
    draw: (found) => drawn((known = found)),
    empty: "No call matches. A longer time or fewer filters may find some.",
    signal,
    lines: 12,
  });

  function sort(by) {
    sorted = { by, down: sorted.by === by ? !sorted.down : true };
    panel.show(known);
  }

  function turn(to) {
    cursors = to;
    panel.refresh();
  }

  function drawn({ items, total, total_exact: isExact, next_cursor: next }) {
    if (!items.length && cursors.length === 1) return null;
    const first = (cursors.length - 1) * LIMIT;
    const text = `${count(first + 1)}–${count(first + items.length)} of ${isExact ? "" : "more than "}${count(total)}`;
    const isOwn = sorted.by !== "timestamp" || !sorted.down;
    return [
      table({
        caption: "Usage records",
        columns: COLUMNS(open),
        rows: isOwn ? inOrder(items, sorted.by, sorted.down) : items,
        sorted,
        onSort: sort,
        rowKey: (record) => record.record_id,
      }),
      pager({
        text: isOwn && (next || first) ? `${text}; sorted within this page` : text,
        onBack: first ? () => turn(cursors.slice(0, -1)) : null,
        onOn: next ? () => turn([...cursors, next]) : null,
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
  { title: "Component", head: true, name: true, sort: "component", cell: (record) => record.component },
  { title: "Provider", spare: true, sort: "provider", cell: (record) => record.provider },
  { title: "Model", name: true, sort: "model", cell: (record) => h("span", { title: record.model }, record.model) },
  { title: "Task", rare: true, sort: "task_type", cell: (record) => record.task_type ?? UNKNOWN },
  { title: "In", spare: true, num: true, sort: "input_tokens", cell: (record) => count(record.input_tokens) },
  { title: "Out", spare: true, num: true, sort: "output_tokens", cell: (record) => count(record.output_tokens) },
  {
    title: "Cost",
    num: true,
    sort: "cost",
    cell: (record) => h("span", { title: exact(record.cost) }, fine(record.cost)),
  },
  {
    title: "Basis",
    spare: true,
    sort: "cost_basis",
    cell: (record) => (record.corrects ? `${words(record.cost_basis)}, correction` : words(record.cost_basis)),
  },
  { title: "Took", rare: true, num: true, sort: "latency_ms", cell: (record) => milliseconds(record.latency_ms) },
  { title: "End", rare: true, sort: "status", cell: (record) => words(record.status) },
];
