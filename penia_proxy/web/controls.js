/**
 * Make what one presses and types into.
 *
 * Its one job: fields with label, hint and what is wrong with them; segments; tokens; buttons that say what became of
 * it.
 */

import { fill, freshId, h, say } from "./dom.js";

/**
 * Return a field: `{element, input, value, wrong}`; `wrong(sentence)` marks it, null unmarks it.
 *
 * `control` is the element that is typed into; without one it is an input of `type`.
 */
export function field({
  label,
  name,
  type = "text",
  value = "",
  hint = null,
  control = null,
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
    isMoney ? h("span", { class: "money" }, input) : input,
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

/** Return a field of several short texts: Enter or a comma adds one. `values()` are those that are there. */
export function tokens({ label, hint, values, onChange, suggestions = [] }) {
  const list = freshId("list");
  const input = h("input", { list, autocomplete: "off" });
  const box = h("div", { class: "tokens" });
  const offered = h(
    "datalist",
    { id: list },
    suggestions.map((value) => h("option", { value })),
  );
  let kept = [...values];

  function draw() {
    const made = kept.map((text) =>
      h(
        "button",
        { type: "button", "aria-label": `Remove ${text}`, onClick: () => change(kept.filter((one) => one !== text)) },
        text,
      ),
    );
    box.replaceChildren(...made, input, offered);
  }
  function change(to) {
    kept = to;
    draw();
    input.focus();
    onChange();
  }
  function add() {
    const text = input.value.trim();
    if (!text) return false;
    input.value = "";
    if (!kept.includes(text)) {
      kept = [...kept, text];
      draw();
      onChange();
    }
    return true;
  }
  input.addEventListener("keydown", (event) => {
    if ((event.key === "Enter" || event.key === ",") && (input.value.trim() || event.key === ",")) {
      event.preventDefault();
      add();
      input.focus();
    } else if (event.key === "Backspace" && !input.value && kept.length) {
      change(kept.slice(0, -1));
    }
  });
  // One of the names offered was chosen. What is typed stays as it is when the field is left: a mark that appears under
  // the pointer would move the button that is being pressed.
  input.addEventListener("input", (event) => event.inputType === "insertReplacementText" && add());
  draw();
  const made = field({ label, hint, control: input });
  made.input.replaceWith(box);
  box.replaceChildren(...box.children);
  draw();
  return {
    element: made.element,
    wrong: made.wrong,
    values: () => [...kept, ...(input.value.trim() ? [input.value.trim()] : [])],
    /** Offer other names to choose from. */
    suggest: (names) =>
      fill(
        offered,
        names.map((value) => h("option", { value })),
      ),
  };
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
