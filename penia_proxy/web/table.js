/**
 * Draw tables.
 *
 * Its one job: a caption, headings with their scope, rows; headings that sort where they may. A column is `{title,
 * cell(row), num?, name?, head?, spare?, rare?, sort?}`: `head` makes its cells headings of their rows, `spare` and
 * `rare` ones are left out where there is little room, `sort` is what `onSort` is told.
 */

import { h } from "./dom.js";

export function table({ caption, columns, rows, sorted = null, onSort = null, rowKey = null }) {
  const heading = (column) => {
    const order = sorted?.by === column.sort && column.sort ? (sorted.down ? "descending" : "ascending") : null;
    const label = column.sort
      ? h(
          "button",
          { class: "sort", type: "button", "data-key": `sort-${column.sort}`, onClick: () => onSort(column.sort) },
          column.title,
        )
      : column.title;
    return h("th", { scope: "col", class: classOf(column), "aria-sort": order }, label);
  };
  const cell = (column, row) =>
    h(column.head ? "th" : "td", { scope: column.head ? "row" : null, class: classOf(column) }, column.cell(row));
  return h(
    "div",
    { class: "table-wrap", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, columns.map(heading))),
      h(
        "tbody",
        {},
        rows.map((row) =>
          h(
            "tr",
            { class: "can", "data-id": rowKey && rowKey(row) },
            columns.map((column) => cell(column, row)),
          ),
        ),
      ),
    ),
  );
}

function classOf({ num, name, spare, rare }) {
  return [num && "num", name && "name", spare && "spare", rare && "rare"].filter(Boolean).join(" ") || null;
}

/** Return rows in an order that a reader asked for; what is unknown is last. */
export function inOrder(rows, by, down) {
  return [...rows].sort((one, other) => {
    const [a, b] = [one[by], other[by]];
    if (a === b) return 0;
    if (a === null || a === undefined) return 1;
    if (b === null || b === undefined) return -1;
    return (a < b ? -1 : 1) * (down ? -1 : 1);
  });
}
