/**
 * Answer requests for approval.
 *
 * Its one job: what `approve` budgets have asked for, with what it needs to be granted or denied. Nothing is shown
 * where nobody asks.
 */

import { get, post } from "../api.js";
import { action, field } from "../controls.js";
import { h } from "../dom.js";
import { feed } from "../feed.js";
import { figure } from "../figure.js";
import { PERIODS, exact, money, plural, when } from "../format.js";
import { throttled } from "../timing.js";
import { amount } from "./budget_rules.js";

export function approvalsPanel({ signal }) {
  const panel = figure({
    title: "To be answered",
    flush: true,
    load: (stop) => get("/api/v1/approvals", { query: { state: "pending", limit: 50 }, signal: stop }),
    draw({ items }) {
      panel.element.hidden = items.length === 0;
      return items.length
        ? h(
            "ul",
            {},
            items.map((request) => entry(request, panel.refresh)),
          )
        : null;
    },
    empty: "",
    signal,
    lines: 2,
  });
  panel.element.hidden = true;
  feed.on("alert", throttled(500, panel.refresh, signal), signal);
  return panel.element;
}

function entry(request, refresh) {
  const address = `/api/v1/approvals/${encodeURIComponent(request.approval_id)}`;
  const more = field({
    label: "Grant",
    isMoney: true,
    inputmode: "decimal",
    placeholder: String(request.needed ?? ""),
    hint: null,
  });
  const reason = field({ label: "Reason", placeholder: "none" });
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
  return h(
    "li",
    { class: "item", "data-severity": "warning" },
    h(
      "div",
      { class: "what" },
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
    ),
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
}
