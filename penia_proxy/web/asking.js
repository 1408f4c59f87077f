/**
 * Ask a question with a form.
 *
 * Its one job: fields, a button, and the answer or what is wrong under them, in one panel.
 */

import { fill, freshId, h, say } from "./dom.js";
import { bones } from "./figure.js";

/**
 * Return a panel. `fields` are by the name that the API gives them; `ask()` returns the answer, or null where the
 * fields are not right; `draw(answer)` returns what to show.
 */
export function asking({ title, intro, fields, extra = [], label, ask, draw }) {
  const id = freshId("asking");
  const problem = h("p", { class: "form-wrong", role: "alert" });
  const answer = h("div", {
    class: "answer",
    role: "region",
    "aria-label": `${title}: the answer`,
    "aria-live": "polite",
  });
  const button = h("button", { type: "submit", class: "first" }, label);

  async function submit(event) {
    event.preventDefault();
    problem.textContent = "";
    for (const field of Object.values(fields)) field.wrong(null);
    button.disabled = true;
    fill(answer, bones(3));
    try {
      const found = await ask();
      fill(answer, found === null ? [] : draw(found));
      if (found !== null) say(`${title}: answered.`);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status === undefined) console.error(error);
      fill(answer);
      refused(error);
    } finally {
      button.disabled = false;
    }
  }

  function refused(error) {
    const rest = [];
    for (const [name, sentence] of error.fields ?? []) {
      if (fields[name]) fields[name].wrong(sentence);
      else rest.push(`${name}: ${sentence}.`);
    }
    problem.textContent = [error.status === undefined ? "This could not be shown." : error.message, ...rest].join(" ");
  }

  const form = h(
    "form",
    { class: "stack", novalidate: true, onSubmit: submit },
    h("p", { class: "muted" }, intro),
    h(
      "div",
      { class: "columns" },
      Object.values(fields).map(({ element }) => element),
    ),
    extra,
    h("div", { class: "line" }, button, problem),
  );
  return h(
    "section",
    { class: "panel", "aria-labelledby": id },
    h("header", {}, h("h2", { id }, title)),
    h("div", { class: "body" }, form, answer),
  );
}

/** Return an object without what is empty. */
export function given(values) {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined),
  );
}

/** Return a whole number, or what was typed where it is none: the API says what is wrong with it. */
export function whole(text) {
  return text === "" ? undefined : /^\d+$/.test(text.replaceAll(",", "")) ? Number(text.replaceAll(",", "")) : text;
}
