// The sandbox as it works: scenarios change by themselves, logs stream.

import { Follower, fragment } from "./live.js";
import { enliven } from "./portal.js";

const panel = document.getElementById("test-panel");
const form = document.getElementById("wizard");
let follower;
let lines = [];
// The test whose lines these are.
let said;

// What is open, and which failures were closed by hand: a result that fails opens by itself once.
function opened() {
  const rows = [...panel.querySelectorAll("details")];
  return {
    open: rows.filter((row) => row.open).map((row) => row.id),
    closed: rows.filter((row) => !row.open && row.dataset.failed).map((row) => row.dataset.failed),
  };
}

function show(keep) {
  for (const id of keep.open) document.getElementById(id)?.setAttribute("open", "");
  for (const row of panel.querySelectorAll("details[data-failed]")) {
    if (keep.closed.includes(row.dataset.failed)) row.open = false;
  }
  const note = panel.querySelector("[data-next-note]");
  const shown = document.getElementById("next-note");
  if (note && shown && shown.innerHTML.trim() !== note.innerHTML.trim()) shown.innerHTML = note.innerHTML;
  // Nothing is left to skip once all has passed.
  const passed = panel.querySelector("[data-test]")?.dataset.passed !== undefined;
  document.getElementById("skip")?.toggleAttribute("hidden", passed);
  showLines();
  enliven(panel);
  follow();
}

function follow() {
  const test = panel.querySelector("[data-test]")?.dataset.test;
  if (follower && test === follower.test) return;
  const last = follower;
  // What it said last may still be on its way.
  if (last) setTimeout(() => last.stop(), test ? 0 : 3000);
  follower = undefined;
  if (!test) return;
  lines = [];
  said = test;
  follower = new Follower({
    path: `/ws/factory/sandbox/${test}`,
    onEvent: (message) => said === test && onEvent(message),
    onChange: refresh,
  });
  follower.test = test;
}

function onEvent(message) {
  if (message.type !== "event" || message.kind !== "log") return;
  const found = message.payload?.lines ?? [message.payload?.line ?? message.payload?.text ?? ""];
  lines.push(...found);
  lines = lines.slice(-500);
  showLines();
}

// What the sandbox said stays when the test has ended, until the next one begins.
function showLines() {
  const logs = document.getElementById("live-logs");
  if (!logs || lines.length === 0) return;
  logs.closest("section").hidden = false;
  logs.textContent = lines.join("\n");
  logs.scrollTop = logs.scrollHeight;
}

async function refresh() {
  try {
    const keep = opened();
    const active = document.activeElement?.closest?.("#test-panel") ? document.activeElement : null;
    const back = active ? { name: active.name, value: active.value } : null;
    panel.innerHTML = await fragment(panel.dataset.panel, panel.id);
    show(keep);
    if (back?.name) {
      panel.querySelector(`[name="${back.name}"][value="${CSS.escape(back.value)}"]`)?.focus();
    }
  } catch {
    // The next event or the next look tries again.
  }
}

function say(messages) {
  document.querySelector(".messages")?.remove();
  if (messages) document.getElementById("main").prepend(messages);
}

function unreachable() {
  const messages = document.createElement("div");
  messages.className = "messages";
  messages.setAttribute("role", "alert");
  const notice = document.createElement("div");
  notice.className = "notice bad";
  notice.textContent = "The page could not reach the server. Try again.";
  messages.append(notice);
  return messages;
}

// The buttons of the panel work in place.
async function press(value, button) {
  const data = new FormData(form);
  data.set("do", value);
  const keep = opened();
  let page;
  try {
    const response = await fetch(form.action, {
      method: "POST",
      body: data,
      credentials: "same-origin",
    });
    page = new DOMParser().parseFromString(await response.text(), "text/html");
  } catch {
    say(unreachable());
    if (button) button.disabled = false;
    return;
  }
  const fresh = page.getElementById("test-panel");
  if (!fresh) {
    location.reload();
    return;
  }
  say(page.querySelector(".messages"));
  panel.innerHTML = fresh.innerHTML;
  show(keep);
}

panel.addEventListener("click", (event) => {
  const button = event.target.closest("button[name='do']");
  if (!button || button.disabled) return;
  event.preventDefault();
  button.disabled = true;
  press(button.value, button);
});

show(opened());
if (panel.dataset.autostart !== undefined) press("run-all");
