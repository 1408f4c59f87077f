// Take the theme that was chosen before the page is painted. Its one job; the switch itself is in shell.js. Not a
// module, because a module runs after the first paint.
try {
  const chosen = localStorage.getItem("penia.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage is forbidden: the system's theme it is.
}
