/**
 * Answer requests for approval.
 *
 * Its one job: what `approve` budgets have asked for, with what it needs to be granted or denied. Nothing is shown
 * where nobody asks.
 */

import { get, post } from "../api.js";
import { action, field } from "../controls.js";
import { fill, h } from "../dom.js";
import { feed } from "../feed.js";
import { figure } from "../figure.js";
import { PERIODS, count, exact, money, plural, when } from "../format.js";
import { every, throttled } from "../timing.js";
import { amount } from "./budget_rules.js";

export function approvalsPanel({ signal }) {
  let entries = new Map();
  const list = h("ul", {});
  const panel = figure({
    title: "To be answered",
    flush: true,
    load: (stop) => get("/api/v1/approvals", { query: { state: "pending", limit: 50 }, signal: stop }),
    draw({ items, total }) {
      panel.element.hidden = items.length === 0;
      // What somebody has begun to type stays, whatever else is asked for meanwhile.
      entries = new Map(
        items.map((request) => [request.approval_id, entries.get(request.approval_id) ?? entry(request, panel.refresh)]),
      );
      for (const request of items) entries.get(request.approval_id).tell(request);
      fill(
        list,
        [...entries.values()].map(({ element }) => element),
      );
      const rest = total - items.length;
      return items.length ? [list, rest > 0 && h("p", { class: "pages small" }, `and ${count(rest)} more.`)] : null;
    },
    empty: "",
    signal,
    lines: 2,
  });
  panel.element.hidden = true;
  feed.on("alert", throttled(500, panel.refresh, signal), signal);
  every(30_000, panel.refresh, signal); // more refused calls are no event
  return panel.element;
}

/** Return `{element, tell}`; `tell(request)` writes what is asked for now. */
function entry({ approval_id: id }, refresh) {
  const address = `/api/v1/approvals/${encodeURIComponent(id)}`;
  const more = field({
    label: "Grant",
    isMoney: true,
    inputmode: "decimal",
    "data-key": `amount-${id}`,
  });
  const reason = field({ label: "Reason", placeholder: "none", "data-key": `reason-${id}` });
  const said = h("div", { class: "what" });
  const problem = h("p", { class: "form-wrong", role: "alert" });
  const answered = () => {
    document.dispatchEvent(new Event("answered"));
    return refresh();
  };
  const answer = (what, body) => async () => {
    await post(`${address}/${what}`, { ...body(), reason: reason.value || null });
    await answered();
  };
  const given = () => {
    const asked = amount(more.value);
    if (Number.isNaN(asked) || asked === 0) {
      more.wrong("An amount above zero, or nothing for what it needs.");
      throw Object.assign(new Error("The amount is not right."), { status: 0 });
    }
    return asked === null ? {} : { amount: asked };
  };
  const onError = (error) => (problem.textContent = error.message);
  function tell(request) {
    more.input.placeholder = String(request.needed ?? "");
    fill(
      said,
      h("strong", {}, `${request.name}, this ${PERIODS[request.period].toLowerCase()}`),
      h(
        "span",
        {},
        `${request.component} asks for ${request.provider} ${request.model}. It needs `,
        h("span", { title: exact(request.needed) }, `${money(request.needed)} more.`),
      ),
      h(
        "span",
        { class: "small muted" },
        `Asked ${when(request.asked_at)}; ${plural(request.refused_calls, "call")} refused, the last `,
        `${when(request.last_refused_at, { seconds: true })}.`,
      ),
      problem,
    );
  }
  const element = h(
    "li",
    { class: "item", "data-severity": "warning" },
    said,
    h(
      "div",
      { class: "do" },
      more.element,
      reason.element,
      action("Approve", answer("approve", given), { onError, done: "Approved.", class: "first" }),
      action(
        "Deny",
        answer("deny", () => ({})),
        { onError, done: "Denied." },
      ),
    ),
  );
  return { element, tell };
}
