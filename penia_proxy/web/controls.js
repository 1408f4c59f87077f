/**
 * Make what one presses and types into.
 *
 * Its one job: fields with label, hint and what is wrong with them; segments; tokens; buttons that say what became of
 * it.
 */

import { freshId, h, say } from "./dom.js";

/**
 * Return a field: `{element, input, value, wrong}`; `wrong(sentence)` marks it, null unmarks it.
 *
 * `control` is the element that is typed into, without one an input of `type`; `frame` is what it stands in.
 */
export function field({
  label,
  name,
  type = "text",
  value = "",
  hint = null,
  control = null,
  frame = null,
  isMoney = false,
  ...rest
}) {
  const id = freshId("field");
  const input = control ?? h("input", { type, value: value ?? "", autocomplete: "off", ...rest });
  const notes = [hint && h("span", { class: "hint", id: `${id}-hint` }, hint)];
  const wrong = h("span", { class: "wrong", id: `${id}-wrong`, hidden: true });
  input.id = id;
  if (name) input.name = name;
  input.setAttribute("aria-describedby", `${id}-wrong${hint ? ` ${id}-hint` : ""}`);
  const element = h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    frame ?? (isMoney ? h("span", { class: "money" }, input) : input),
    wrong,
    notes,
  );
  return {
    element,
    input,
    get value() {
      return input.value.trim();
    },
    wrong(sentence) {
      wrong.hidden = !sentence;
      wrong.textContent = sentence ?? "";
      if (sentence) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    },
  };
}

/** Return a select; options are `[value, text]`. */
export function choice(options, value, attributes = {}) {
  const select = h(
    "select",
    attributes,
    options.map(([one, text]) => h("option", { value: one }, text)),
  );
  select.value = value;
  return select;
}

export function checkbox(label, checked, attributes = {}) {
  const input = h("input", { type: "checkbox", checked, ...attributes });
  return { element: h("label", { class: "check" }, input, label), input };
}

/** Return buttons of which one is pressed. */
export function segments(label, options, value, onChange) {
  const buttons = options.map(([one, text]) =>
    h(
      "button",
      {
        type: "button",
        "data-key": `segment-${one}`,
        "aria-pressed": String(one === value),
        onClick: () => press(one),
      },
      text,
    ),
  );
  function press(one) {
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(options[index][0] === one)));
    onChange(one);
  }
  return h("div", { class: "segments", role: "group", "aria-label": label }, buttons);
}

/** Return a button that does something that may fail; it cannot be pressed twice meanwhile. */
export function action(label, act, { onError, done = null, ...attributes } = {}) {
  const button = h("button", { type: "button", ...attributes }, label);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await act();
      if (done) say(done);
    } catch (error) {
      if (error.status === undefined) console.error(error);
      say(error.message);
      onError?.(error);
    } finally {
      button.disabled = false;
    }
  });
  return button;
}
