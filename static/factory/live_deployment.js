// A deployment as it happens.

import { Follower, fragment } from "./live.js";
import { enliven } from "./portal.js";

const root = document.getElementById("deployment-live");
let follower;
let ticking;

function show() {
  const bar = root.querySelector("[data-percent]");
  if (bar) bar.style.setProperty("--value", `${bar.dataset.percent}%`);
  clearInterval(ticking);
  const remaining = root.querySelector("[data-remaining]");
  if (remaining) {
    let seconds = Number(remaining.dataset.remaining);
    ticking = setInterval(() => {
      seconds = Math.max(0, seconds - 1);
      remaining.textContent = String(seconds);
    }, 1000);
  }
  enliven(root);
  if (root.querySelector("[data-active]")?.dataset.active !== "1") follower?.stop();
}

async function refresh() {
  try {
    root.innerHTML = await fragment(root.dataset.url, root.id);
    show();
  } catch {
    // The next event or the next look tries again.
  }
}

show();
if (root.querySelector("[data-active]")?.dataset.active === "1") {
  follower = new Follower({
    path: `/ws/factory/deployment/${root.dataset.deployment}`,
    after: Number(root.dataset.seq),
    onChange: refresh,
  });
  // What happened while the page was on its way.
  follower.changed();
}
