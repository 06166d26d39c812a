// Runs before the first paint: the look that was chosen, and that scripts are there. Goes with the
// system's own look while nothing else is chosen.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    try {
      return JSON.parse(localStorage.getItem("adminTheme") ?? '"auto"');
    } catch {
      // Storage is off, or holds something else: follow the system.
      return "auto";
    }
  }

  function apply() {
    const look = chosen();
    root.classList.toggle("dark", look === "dark" || (look !== "light" && system.matches));
    root.classList.toggle("light", look === "light");
  }

  root.classList.add("js");
  apply();
  system.addEventListener("change", apply);
  // Chosen in another tab.
  addEventListener("storage", apply);
  // The theme's own switch keeps the choice first and sets only what it set itself.
  for (const kind of ["click", "keydown"]) addEventListener(kind, () => setTimeout(apply));

  // Where the person is, so that the server writes their times.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone) {
    const kept = "path=/; max-age=31536000; SameSite=Lax";
    document.cookie = `timezone=${encodeURIComponent(zone)}; ${kept}`;
  }
})();
