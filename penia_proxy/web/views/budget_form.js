/**
 * Write a budget.
 *
 * Its one job: the form for a new budget and for one that is changed. What is wrong is said as one types; what the API
 * says in the end is put beside its fields.
 */

import { get, post, put } from "../api.js";
import { checkbox, choice, field } from "../controls.js";
import { fill, freshId, h, say } from "../dom.js";
import { PERIODS, capital } from "../format.js";
import { go, to } from "../router.js";
import { tokens } from "../tokens.js";
import { bodyOf, oddities, scopeOf, wrongs } from "./budget_rules.js";
import { ENFORCEMENT, OVERRUN, UNPRICED } from "./budget_words.js";
import { scopePreview } from "./scope_preview.js";

const WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const NEW = {
  name: "",
  scope: { components: [], providers: [], models: [], tags: {} },
  enforcement: "warn",
  overrun: "finish",
  unpriced: null,
  shadow: false,
  warn_at: 0.8,
  timezone: "UTC",
  week_start: "monday",
  month_start_day: 1,
};

export function budgetForm({ id, signal }) {
  const place = h("div", {});
  const head = h("div", { class: "view-head" }, h("h1", {}, id ? "Change a budget" : "New budget"));
  if (id === null) {
    draw(place, NEW, null, signal);
  } else {
    fill(place, h("p", { class: "wait", "data-state": "loading" }, "Loading…"));
    get(`/api/v1/budgets/${encodeURIComponent(id)}`, { signal }).then(
      (budget) => draw(place, budget, budget, signal),
      (error) => error.name !== "AbortError" && fill(place, h("p", { class: "wait", role: "alert" }, error.message)),
    );
  }
  return [head, place];
}

function draw(place, values, before, signal) {
  const parts = fieldsOf(values);
  const { fields, selects, shadow, scope } = parts;
  const odd = new Map();
  const touched = new Set();
  const problem = h("p", { class: "form-wrong", role: "alert", hidden: true });
  const preview = scopePreview({ read: () => scopeOf(read()), signal });

  function read() {
    const texts = Object.fromEntries(Object.entries(fields).map(([name, one]) => [name, one.value]));
    const chosen = Object.fromEntries(Object.entries(selects).map(([name, one]) => [name, one.value]));
    const globs = Object.fromEntries(Object.entries(scope).map(([name, one]) => [name, one.values()]));
    return { ...texts, ...chosen, ...globs, shadow: shadow.input.checked };
  }

  function check({ everything = false } = {}) {
    const form = read();
    const found = wrongs(form);
    const strange = oddities(form);
    for (const [name, one] of Object.entries({ ...fields, ...scope })) {
      if (everything || touched.has(name)) one.wrong(found[name] ?? null);
      note(odd, name, one, found[name] ? null : strange[name]);
    }
    return found;
  }

  async function save(event) {
    event.preventDefault();
    problem.hidden = true;
    const found = check({ everything: true });
    if (Object.keys(found).length)
      return complain(Object.keys(found)[0], "Something is not right yet; see the fields.");
    button.disabled = true;
    try {
      const body = bodyOf(read());
      // It is shown as it is in force; sent back, what follows from the enforcement would no longer follow it.
      if (body.unpriced === before?.unpriced) delete body.unpriced;
      const saved = before
        ? await put(`/api/v1/budgets/${encodeURIComponent(before.budget_id)}`, {
            ...body,
            updated_at: before.updated_at,
          })
        : await post("/api/v1/budgets", body);
      done(place, saved, before);
    } catch (error) {
      refused(error);
    } finally {
      button.disabled = false;
    }
    return undefined;
  }

  function refused(error) {
    const known = { ...fields, ...scope };
    let first = null;
    for (const [name, sentence] of error.fields ?? []) {
      const one = known[name.replace(/^scope\./, "").split(".")[0]] ?? known[name];
      if (one) one.wrong(sentence);
      if (one) first ??= name.replace(/^scope\./, "").split(".")[0];
    }
    const rest = [...(error.fields ?? [])].map(([name, sentence]) => `${name}: ${sentence}`).join("; ");
    complain(
      first,
      error.code === "conflict"
        ? `${error.message} Load the page again to see it as it is.`
        : `${error.message} ${rest}`,
    );
  }

  function complain(name, sentence) {
    problem.hidden = false;
    problem.textContent = sentence;
    ({ ...fields, ...scope })[name]?.element.querySelector("input, textarea")?.focus();
  }

  const button = h("button", { type: "submit", class: "first" }, before ? "Save" : "Create");
  const form = h("form", { novalidate: true, onSubmit: save }, sections(parts), problem, end(button, before));
  form.addEventListener("input", (event) => {
    touched.add(event.target.name);
    check();
    preview.changed();
  });
  form.addEventListener("focusout", (event) => {
    if (event.target.name && event.target.value) touched.add(event.target.name);
    check();
  });
  form.addEventListener("tokens", () => {
    for (const name of Object.keys(scope)) touched.add(name);
    check();
    preview.changed();
  });
  fill(
    place,
    h(
      "div",
      { class: "grid" },
      h("section", { class: "panel w8", "aria-label": "The budget" }, h("div", { class: "body" }, form)),
      h("div", { class: "w4" }, preview.element),
    ),
  );
  suggest(scope, signal);
  check();
}

function fieldsOf(values) {
  const limit = (period) =>
    field({
      label: PERIODS[period],
      name: `${period}_limit`,
      value: plain(values[`${period}_limit`]),
      isMoney: true,
      inputmode: "decimal",
      placeholder: "none",
    });
  const tokenField = (name, label, hint, start) => {
    const one = tokens({
      label,
      hint,
      values: start,
      onChange: () => one.element.dispatchEvent(new Event("tokens", { bubbles: true })),
    });
    return one;
  };
  const { scope } = values;
  const pairs = Object.entries(scope.tags).map(([name, value]) => `${name}=${value}`);
  return {
    fields: {
      name: field({ label: "Name", name: "name", value: values.name, required: true }),
      owner: field({ label: "Owner", name: "owner", value: values.owner, placeholder: "nobody" }),
      description: field({
        label: "Description",
        name: "description",
        control: h("textarea", { value: values.description ?? "", rows: "2" }),
      }),
      ...Object.fromEntries(Object.keys(PERIODS).map((period) => [`${period}_limit`, limit(period)])),
      warn_at: field({
        label: "Warn from, % of the limit",
        name: "warn_at",
        value: plain(Number((values.warn_at * 100).toFixed(4))),
        inputmode: "decimal",
      }),
      timezone: field({ label: "Time zone of its days", name: "timezone", value: values.timezone, list: "zones" }),
      month_start_day: field({
        label: "Months begin on day",
        name: "month_start_day",
        value: values.month_start_day,
        inputmode: "numeric",
      }),
    },
    selects: {
      enforcement: explained("Enforcement", ENFORCEMENT, values.enforcement),
      overrun: explained("Overrun", OVERRUN, values.overrun),
      unpriced: explained("Calls without a known price", UNPRICED, values.unpriced ?? ""),
      week_start: field({
        label: "Weeks begin on",
        control: choice(
          WEEKDAYS.map((day) => [day, capital(day)]),
          values.week_start,
        ),
      }),
    },
    shadow: checkbox("Shadow: say what it would do, and do nothing", values.shadow),
    scope: {
      components: tokenField("components", "Components", "Such as rhetor or agent-*; none is all.", scope.components),
      providers: tokenField("providers", "Providers", null, scope.providers),
      models: tokenField("models", "Models", "As asked for, such as gpt-4o*.", scope.models),
      tags: tokenField("tags", "Tags", "Such as team=search.", pairs),
    },
  };
}

function sections({ fields, selects, shadow, scope }) {
  const set = (title, ...children) => {
    const id = freshId("set");
    return h("div", { class: "set", role: "group", "aria-labelledby": id }, h("h2", { id }, title), children);
  };
  return [
    set(
      "What it is",
      h("div", { class: "columns wide" }, fields.name.element, fields.owner.element),
      fields.description.element,
    ),
    set(
      "Limits in US dollars",
      h(
        "div",
        { class: "columns" },
        Object.keys(PERIODS).map((period) => fields[`${period}_limit`].element),
      ),
    ),
    set(
      "What happens at the limit",
      h(
        "div",
        { class: "columns wide" },
        selects.enforcement.element,
        selects.overrun.element,
        selects.unpriced.element,
        fields.warn_at.element,
      ),
      shadow.element,
    ),
    set(
      "Which calls it covers",
      h(
        "div",
        { class: "columns wide" },
        Object.values(scope).map((one) => one.element),
      ),
    ),
    set(
      "Its calendar",
      h(
        "div",
        { class: "columns" },
        fields.timezone.element,
        selects.week_start.element,
        fields.month_start_day.element,
      ),
      zones(),
    ),
  ];
}

/** Return a select whose hint says what is chosen. */
function explained(label, meanings, value) {
  const control = choice(
    Object.keys(meanings).map((one) => [one, capital(one) || "As usual"]),
    value,
  );
  const made = field({ label, control, hint: meanings[value] });
  control.addEventListener("change", () => (made.element.querySelector(".hint").textContent = meanings[control.value]));
  return made;
}

function zones() {
  const names = Intl.supportedValuesOf?.("timeZone") ?? [];
  return h(
    "datalist",
    { id: "zones" },
    ["UTC", ...names].map((value) => h("option", { value })),
  );
}

function end(button, before) {
  const back = before ? to("budgets", [before.budget_id]) : to("budgets");
  return h("div", { class: "form-end" }, button, h("a", { class: "button", href: back }, "Cancel"));
}

function plain(number) {
  return number === null || number === undefined ? "" : String(Number(number).toFixed(9)).replace(/\.?0+$/, "");
}

/** Put what is odd about a field under it. */
function note(odd, name, one, sentence) {
  if (!odd.has(name)) odd.set(name, one.element.appendChild(h("span", { class: "odd" })));
  odd.get(name).textContent = sentence ?? "";
  odd.get(name).hidden = !sentence;
}

/** Offer the names that calls have had. */
async function suggest(scope, signal) {
  try {
    const { groups } = await post("/api/v1/usage/summary", { days: 30 }, { signal });
    scope.components.suggest(Object.keys(groups.component));
    scope.providers.suggest(Object.keys(groups.provider));
    scope.models.suggest(Object.keys(groups.model));
  } catch {
    // Names can be typed.
  }
}

function done(place, saved, before) {
  say(before ? "The budget is saved." : "The budget is created.");
  if (!saved.warnings.length) {
    go("budgets", [saved.budget_id]);
    return;
  }
  const odd = saved.warnings.map(({ field: name, message }) => h("li", {}, h("code", {}, name), ` ${message}`));
  const open = h("a", { class: "button first", href: to("budgets", [saved.budget_id]) }, "Open the budget");
  const change = h("a", { class: "button", href: to("budgets", [saved.budget_id, "edit"]) }, "Change it");
  const told = h(
    "section",
    { class: "panel", "aria-label": "Saved" },
    h(
      "div",
      { class: "body stack" },
      h("h2", {}, `“${saved.name}” is saved, and something about it is odd`),
      h("ul", { class: "stack" }, odd),
      h("div", { class: "line" }, open, change),
    ),
  );
  fill(place, told);
  open.focus();
}
