/**
 * Take several short texts.
 *
 * Its one job: a field whose texts stand in it as buttons that take them out again; Enter or a comma adds what is
 * typed.
 */

import { field } from "./controls.js";
import { fill, freshId, h } from "./dom.js";

/** Return `{element, wrong, values, suggest}`; `values()` are the texts, with what is typed and not yet added. */
export function tokens({ label, hint, values, onChange }) {
  const list = freshId("list");
  const input = h("input", { list, autocomplete: "off" });
  const offered = h("datalist", { id: list });
  const box = h("div", { class: "tokens" });
  let kept = [...values];

  function draw() {
    const made = kept.map((text) => {
      const without = () => change(kept.filter((one) => one !== text));
      return h("button", { type: "button", "aria-label": `Remove ${text}`, onClick: without }, text);
    });
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
    input.value = "";
    if (text) change(kept.includes(text) ? kept : [...kept, text]);
  }
  input.addEventListener("keydown", (event) => {
    if (event.key === "," || (event.key === "Enter" && input.value.trim())) {
      event.preventDefault();
      add();
    } else if (event.key === "Backspace" && !input.value && kept.length) {
      change(kept.slice(0, -1));
    }
  });
  // One of the names offered was chosen. What is typed stays as it is when the field is left: a button that appears
  // under the pointer would move the one that is being pressed.
  input.addEventListener("input", (event) => event.inputType === "insertReplacementText" && add());
  draw();
  const { element, wrong } = field({ label, hint, control: input, frame: box });
  return {
    element,
    wrong,
    values: () => [...new Set([...kept, input.value.trim()])].filter(Boolean),
    /** Offer names to choose from. */
    suggest(names) {
      const options = names.map((value) => h("option", { value }));
      fill(offered, options);
    },
  };
}
