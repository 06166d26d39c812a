// A deployment as it happens.

import { clock, Follower, fragment, swap } from "./live.js";
import { enliven } from "./portal.js";

// Beside what is announced: whether a step takes longer than usual shows only by looking.
const LOOK_EVERY = 4000;
// Seconds past the estimate with no news from the server; it is away, or its work is.
const LATE = 8;

const root = document.getElementById("deployment-live");
const said = document.getElementById("deployment-said");
const siteTitle = document.title.split("|").pop().trim();
let follower;
let ticking;
let looking;

function shown() {
  return root.firstElementChild?.dataset ?? {};
}

function show() {
  const bar = root.querySelector("[data-percent]");
  if (bar) bar.style.setProperty("--value", `${bar.dataset.percent}%`);
  count();
  enliven(root);
  const { active, heading } = shown();
  if (heading && said.textContent !== heading) {
    document.title = `${heading} | ${siteTitle}`;
    said.textContent = heading;
  }
  if (active !== "1") {
    follower?.stop();
    clearInterval(looking);
  }
}

// Counts on between two looks: up what a step has taken, down what is left.
function count() {
  clearInterval(ticking);
  const elapsed = root.querySelector("[data-elapsed]");
  const remaining = root.querySelector("[data-remaining]");
  if (!elapsed && !remaining) return;
  const start = performance.now();
  ticking = setInterval(() => {
    const passed = (performance.now() - start) / 1000;
    if (elapsed) elapsed.textContent = clock(Number(elapsed.dataset.elapsed) + passed);
    if (remaining) {
      const left = Number(remaining.dataset.remaining) - passed;
      remaining.textContent = left >= 1 ? clock(left) : left > -LATE ? "almost done" : "longer than usual";
    }
  }, 250);
}

async function refresh() {
  try {
    swap(root, await fragment(root.dataset.url, root.id));
    show();
  } catch {
    // The next event or the next look tries again.
  }
}

said.textContent = shown().heading ?? "";
if (shown().active === "1") {
  follower = new Follower({
    path: `/ws/factory/deployment/${root.dataset.deployment}`,
    after: Number(root.dataset.seq),
    onChange: refresh,
  });
  looking = setInterval(() => follower.changed(), LOOK_EVERY);
  // What happened while the page was on its way.
  follower.changed();
}
show();
