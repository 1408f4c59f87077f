/**
 * Ask before something is done, or show something large above the view.
 *
 * Its one job: modal dialogs, which give the focus back where it came from.
 */

import { freshId, h } from "./dom.js";

/**
 * Open a dialog; returns `{element, close}`. It ends with the view, too.
 *
 * `make(signal)` returns what is in it; the signal is the dialog's own, and aborted when it closes.
 */
export function open({ title, make, signal, wide = false, onClose = () => {} }) {
  const id = freshId("dialog");
  const mine = new AbortController();
  const close = h("button", { type: "button", onClick: () => element.close() }, "Close");
  const element = h(
    "dialog",
    { "aria-labelledby": id, class: wide ? "wide" : null },
    h("header", {}, h("h2", { id }, title), close),
    h("div", { class: "body" }, make(mine.signal)),
  );
  element.addEventListener("close", () => {
    mine.abort();
    element.remove();
    onClose();
  });
  signal.addEventListener("abort", () => element.close(), { signal: mine.signal });
  document.body.append(element);
  element.showModal();
  return { element, close: () => element.close() };
}

/** Ask a question; resolves to whether it was affirmed. */
export function confirmed({ title, sentence, label, signal }) {
  return new Promise((resolve) => {
    let answer = false;
    const yes = h("button", { type: "button", class: "grave" }, label);
    const dialog = open({
      title,
      make: () => [h("p", {}, sentence), h("div", { class: "form-end" }, yes)],
      signal,
      onClose: () => resolve(answer),
    });
    yes.addEventListener("click", () => {
      answer = true;
      dialog.close();
    });
  });
}
