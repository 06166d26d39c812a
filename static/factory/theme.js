// Runs before the first paint: the look that was chosen, and that scripts are there.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  let chosen = "auto";
  try {
    chosen = JSON.parse(localStorage.getItem("adminTheme") ?? '"auto"');
  } catch {
    // Storage is off, or holds something else: follow the system.
  }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  root.classList.toggle("dark", chosen === "dark" || (chosen !== "light" && dark));
})();
