/**
 * Budgets.
 *
 * Its one job: which page of them the address means: all, a new one, one, or one to be changed.
 */

import { h } from "../dom.js";
import { to } from "../router.js";
import { approvalsPanel } from "./approvals.js";
import { budgetDetail } from "./budget_detail.js";
import { budgetForm } from "./budget_form.js";
import { budgetList } from "./budget_list.js";

export function view({ route, signal }) {
  const [id, what] = route.parts;
  if (id === "new") return { title: "New budget", elements: budgetForm({ id: null, signal }) };
  if (id && what === "edit") return { title: "Change a budget", elements: budgetForm({ id, signal }) };
  if (id) return { title: "Budget", elements: budgetDetail({ id, signal }) };
  const create = h("a", { class: "button first", href: to("budgets", ["new"]) }, "New budget");
  const head = h("div", { class: "view-head" }, h("h1", {}, "Budgets"), h("div", { class: "end" }, create));
  return { title: "Budgets", elements: [head, approvalsPanel({ signal }), budgetList({ signal })] };
}
