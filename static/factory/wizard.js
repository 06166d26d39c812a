// The wizard's comforts. Without them every step works as a plain form.

import { enhanceSchemas } from "./schema_fields.js";

const form = document.getElementById("wizard");

// The agent id follows the name until someone types one.
const agentId = document.getElementById("id_basics-agent_id");
const name = document.getElementById("id_basics-name");
const displayName = document.getElementById("id_basics-display_name");
if (agentId && name) {
  const checks = document.getElementById("checks");
  const suggested = () => checks.querySelector("[data-suggested-id]")?.dataset.suggestedId ?? "";
  let follows = agentId.value === "" || agentId.value === suggested();
  let typing = false;
  agentId.addEventListener("input", () => {
    follows = agentId.value === "";
  });
  name.addEventListener("input", () => {
    // The id that was made of the former name must not be checked instead of the new one.
    if (follows) agentId.value = "";
    typing = true;
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target === checks && follows && typing) agentId.value = suggested();
  });
  if (displayName) displayName.placeholder = name.value;
  name.addEventListener("input", () => {
    if (displayName) displayName.placeholder = name.value;
  });
}

// A template's preview opens as a dialog; without scripts it is the template's own page. The browser
// closes it by Escape and brings the focus back to where it was.
const preview = document.getElementById("template-preview");
if (preview) {
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target.id === "template-preview-body" && !preview.open) preview.showModal();
  });
  for (const failure of ["htmx:responseError", "htmx:sendError"]) {
    document.addEventListener(failure, ({ detail }) => {
      if (detail.target.id === "template-preview-body") location.href = detail.elt.href;
    });
  }
  preview.addEventListener("click", (event) => {
    if (event.target === preview || event.target.closest("[data-close]")) preview.close();
  });
}

// Counters under texts that have a limit.
for (const text of document.querySelectorAll("[data-counter]")) {
  const counter = document.createElement("span");
  counter.className = "counter";
  const limit = Number(text.dataset.counter);
  const count = () => {
    const length = [...text.value].length;
    counter.textContent = `${length}/${limit}`;
    counter.classList.toggle("over", length > limit);
  };
  text.addEventListener("input", count);
  text.insertAdjacentElement("afterend", counter);
  count();
}

// A slider and its number box say the same.
for (const slider of document.querySelectorAll("[data-slider]")) {
  const box = document.getElementById(slider.dataset.slider);
  const gigabytes = slider.parentElement.querySelector("[data-gigabytes]");
  const tell = () => {
    const found = Number(box.value) / 1024;
    if (gigabytes) gigabytes.textContent = found >= 1 ? `= ${Number(found.toPrecision(3))} GB` : "";
  };
  slider.addEventListener("input", () => {
    box.value = slider.value;
    tell();
  });
  box.addEventListener("input", () => {
    slider.value = box.value;
    tell();
  });
  tell();
}

// Of a capability's ways, only the chosen one's fields are shown.
for (const group of document.querySelectorAll("[data-kinds]")) {
  const choice = group.querySelector("select");
  const show = () => {
    for (const part of group.querySelectorAll("[data-kind]")) {
      part.hidden = part.dataset.kind !== choice.value;
    }
  };
  choice.addEventListener("change", show);
  show();
}

// A scenario's input follows its capability until someone types one.
for (const choice of document.querySelectorAll("[data-example-for]")) {
  const input = document.getElementById(choice.dataset.exampleFor);
  const examples = [...choice.options].map((option) => option.dataset.example);
  choice.addEventListener("change", () => {
    const typed = input.value.trim();
    if (["", "{}", ...examples].includes(typed)) {
      input.value = choice.selectedOptions[0].dataset.example;
    }
  });
}

// Schemas are written as a list of fields, or as JSON.
enhanceSchemas(document);

// JSON is put in order when one leaves it.
for (const area of document.querySelectorAll("textarea.code")) {
  area.addEventListener("change", () => {
    try {
      area.value = JSON.stringify(JSON.parse(area.value), null, 2);
    } catch {
      // Not JSON yet: what was typed stays, and the check says what is wrong.
    }
  });
}

// Nothing typed is lost: the page is kept as it is some moments after the last change.
if (form?.dataset.autosave !== undefined) {
  let timer;
  let leaving = false;
  const keep = () => {
    if (leaving) return;
    const data = new FormData(form);
    data.delete("secret_value");
    data.set("do", "autosave");
    fetch(form.action, { method: "POST", body: data, keepalive: true }).catch(() => {});
  };
  form.addEventListener("input", (event) => {
    if (event.target.dataset.noAutosave !== undefined) return;
    clearTimeout(timer);
    timer = setTimeout(keep, 1500);
  });
  form.addEventListener("submit", () => {
    leaving = true;
    clearTimeout(timer);
  });
}

// After a failed check, the first field that needs attention has the cursor.
document.querySelector("[aria-invalid='true']")?.focus();
