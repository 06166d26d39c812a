// What every page shares: local times, confirmations, copying, one submission at a time.

const formatter = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });

export function enliven(root) {
  for (const time of root.querySelectorAll("time[data-local]")) {
    const exact = new Date(time.dateTime);
    if (!Number.isNaN(exact.getTime())) time.title = formatter.format(exact);
  }
  for (const time of root.querySelectorAll("time[data-clock]")) {
    const exact = new Date(time.dateTime);
    if (Number.isNaN(exact.getTime())) continue;
    time.textContent = clock.format(exact);
    time.title = formatter.format(exact);
  }
  for (const block of root.querySelectorAll("[data-copy]:not([data-copy-ready])")) {
    block.dataset.copyReady = "";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "btn btn-small";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(block.textContent.trim());
      button.textContent = "Copied";
    });
    block.insertAdjacentElement("afterend", button);
  }
}

document.addEventListener("click", (event) => {
  const asks = event.target.closest?.("[data-confirm]");
  if (asks && !window.confirm(asks.dataset.confirm)) event.preventDefault();
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.once === undefined) return;
  if (form.classList.contains("is-busy")) event.preventDefault();
  form.classList.add("is-busy");
});

// A page that comes back out of the browser's memory can be sent again.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form.is-busy")) form.classList.remove("is-busy");
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && location.hash === "#portal-nav") location.hash = "main";
});

document.addEventListener("htmx:afterSettle", (event) => enliven(event.target));
enliven(document);
