/**
 * Ask before something is done, or show something large above the view.
 *
 * Its one job: modal dialogs, which give the focus back where it came from.
 */

import { freshId, h } from "./dom.js";

/** Open a dialog; returns `{element, close}`. It ends with the view, too. */
export function open({ title, children, signal, wide = false, onClose = () => {} }) {
  const id = freshId("dialog");
  const element = h(
    "dialog",
    { "aria-labelledby": id, class: wide ? "wide" : null },
    h("header", {}, h("h2", { id }, title), h("button", { type: "button", onClick: () => element.close() }, "Close")),
    h("div", { class: "body" }, children),
  );
  element.addEventListener("close", () => {
    element.remove();
    onClose();
  });
  signal.addEventListener("abort", () => element.isConnected && element.close());
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
      children: [h("p", {}, sentence), h("div", { class: "form-end" }, yes)],
      signal,
      onClose: () => resolve(answer),
    });
    yes.addEventListener("click", () => {
      answer = true;
      dialog.close();
    });
  });
}
