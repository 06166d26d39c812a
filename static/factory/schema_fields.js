// A list of fields for those who write no JSON Schema. It writes into the text area that it stands
// above, which stays one press away; what the list can't show is left as it was written.

const TYPES = {
  text: ["Text", { type: "string" }],
  number: ["Number", { type: "number" }],
  integer: ["Whole number", { type: "integer" }],
  boolean: ["Yes or no", { type: "boolean" }],
  texts: ["List of texts", { type: "array", items: { type: "string" } }],
  choice: ["Choice", { type: "string" }],
};
const SHORT = {
  text: "text", str: "text", string: "text", number: "number", float: "number", int: "integer",
  integer: "integer", bool: "boolean", boolean: "boolean", "string[]": "texts", "text[]": "texts",
  "str[]": "texts",
};
const SCHEMA_KEYWORDS = [
  "$schema", "$ref", "$defs", "type", "properties", "required", "allOf", "anyOf", "oneOf", "enum",
  "const", "additionalProperties", "patternProperties", "items",
];
// What says more of the whole object than a list of fields can.
const BEYOND = [
  "$ref", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "enum", "const",
  "patternProperties", "dependentSchemas", "dependentRequired", "propertyNames",
];

const isObject = (value) =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function isShortForm(value) {
  const entries = Object.entries(value);
  if (entries.length === 0 || !entries.every(([, kind]) => typeof kind === "string")) return false;
  return !(value.type === "object" && entries.some(([key]) => SCHEMA_KEYWORDS.includes(key)));
}

function fieldOfShort(name, kind) {
  const written = kind.trim();
  const bare = written.replace(/\?$/, "").trim();
  const field = { name, required: !written.endsWith("?"), description: "", choices: [], rest: {} };
  if (bare.includes("|")) {
    return { ...field, kind: "choice", choices: bare.split("|").map((text) => text.trim()) };
  }
  return SHORT[bare.toLowerCase()] ? { ...field, kind: SHORT[bare.toLowerCase()] } : null;
}

function fieldOf(name, schema, required) {
  if (!isObject(schema)) return { name, required, kind: "other", schema, rest: {}, choices: [] };
  const { type, description = "", enum: choices, items, ...rest } = schema;
  const field = { name, required, description, choices: [], rest };
  const isText = type === "string" && typeof description === "string";
  if (isText && Array.isArray(choices) && choices.every((item) => typeof item === "string" && !item.includes(","))) {
    return { ...field, kind: "choice", choices };
  }
  if (choices === undefined && typeof description === "string" && !("const" in rest)) {
    if (items === undefined && isText) return { ...field, kind: "text" };
    if (items === undefined && ["number", "integer", "boolean"].includes(type)) {
      return { ...field, kind: type };
    }
    if (type === "array" && isObject(items) && JSON.stringify(items) === '{"type":"string"}') {
      return { ...field, kind: "texts" };
    }
  }
  // Kept word for word.
  return { ...field, description: typeof description === "string" ? description : "", kind: "other", schema };
}

// The fields that a text describes and what else it says; null if the list can't show it.
function read(text) {
  if (text.trim() === "") return { fields: [], rest: { additionalProperties: false } };
  let schema;
  try {
    schema = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isObject(schema)) return null;
  if (isShortForm(schema)) {
    const fields = Object.entries(schema).map(([name, kind]) => fieldOfShort(name, kind));
    return fields.includes(null) ? null : { fields, rest: { additionalProperties: false } };
  }
  const { type, properties = {}, required = [], ...rest } = schema;
  if (type !== "object" || !isObject(properties) || !Array.isArray(required)) return null;
  if (BEYOND.some((key) => key in rest) || !required.every((name) => name in properties)) return null;
  const fields = Object.entries(properties).map(([name, part]) =>
    fieldOf(name, part, required.includes(name)),
  );
  return { fields, rest };
}

function schemaOf(field) {
  if (field.kind === "other") {
    if (!isObject(field.schema)) return field.schema;
    const { description: _, ...kept } = field.schema;
    return field.description ? { ...kept, description: field.description } : kept;
  }
  return {
    ...TYPES[field.kind][1],
    ...(field.kind === "choice" && field.choices.length > 0 ? { enum: field.choices } : {}),
    ...(field.description ? { description: field.description } : {}),
    ...field.rest,
  };
}

function write({ fields, rest }) {
  const named = fields.filter((field) => field.name !== "");
  return JSON.stringify(
    {
      type: "object",
      properties: Object.fromEntries(named.map((field) => [field.name, schemaOf(field)])),
      required: [...new Set(named.filter((field) => field.required).map((field) => field.name))],
      ...rest,
    },
    null,
    2,
  );
}

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const icon = (name) =>
  make("span", { class: "material-symbols-outlined", "aria-hidden": "true" }, name);

class Editor {
  constructor(area, title) {
    this.area = area;
    this.title = title;
    this.rows = make("ul", { class: "schema-rows" });
    this.add = make("button", { type: "button", class: "btn btn-small" }, icon("add"), "Add field");
    this.add.append(make("span", { class: "visually-hidden" }, ` to the ${title.toLowerCase()}`));
    this.list = make("div", { class: "schema-fields", role: "group", "aria-label": `${title}: fields` });
    this.list.append(this.rows, make("div", {}, this.add));
    this.toggle = make("button", { type: "button", class: "btn btn-quiet btn-small" });
    this.said = make("p", { class: "field-help", role: "status" });
    // Above, so that it stays under the pointer while the text area changes its height.
    area.before(make("div", { class: "cluster" }, this.toggle, this.said), this.list);
    this.add.addEventListener("click", () => {
      this.model.fields.push({ name: "", kind: "text", required: true, description: "", choices: [], rest: {} });
      this.draw();
      this.rows.lastElementChild.querySelector("input").focus();
    });
    this.toggle.addEventListener("click", () => this.show(this.list.hidden));
    // What was written wrong is mended as it was written; where nothing was, fields are added.
    this.show(area.value.trim() === "" || area.getAttribute("aria-invalid") !== "true");
    this.said.textContent = "";
  }

  show(asFields) {
    const model = asFields ? read(this.area.value) : null;
    this.said.textContent =
      asFields && !model ? "This schema says more than a list of fields can. Edit it as JSON." : "";
    this.list.hidden = !model;
    this.area.hidden = !!model;
    this.toggle.replaceChildren(
      icon(model ? "data_object" : "list"),
      model ? "Edit as JSON" : "Edit as fields",
      make("span", { class: "visually-hidden" }, ` (${this.title.toLowerCase()})`),
    );
    if (!model) return;
    this.model = model;
    this.draw();
  }

  draw() {
    this.rows.replaceChildren(...this.model.fields.map((field, place) => this.row(field, place)));
  }

  changed() {
    const names = this.model.fields.map((field) => field.name);
    const twice = names.find((name, place) => name !== "" && names.indexOf(name) !== place);
    this.said.textContent = twice === undefined ? "" : `“${twice}” is there twice. Rename one.`;
    for (const [place, row] of [...this.rows.children].entries()) {
      row.querySelector("input").setAttribute("aria-invalid", String(names[place] === twice));
    }
    this.area.value = write(this.model);
    this.area.dispatchEvent(new Event("input", { bubbles: true }));
  }

  row(field, place) {
    const of = (what) => `${what} of field ${place + 1}`;
    const name = make("input", {
      class: "input mono", "aria-label": of("Name"), placeholder: "name, as in customer_id",
      maxlength: "64", spellcheck: "false", autocomplete: "off",
    });
    name.value = field.name;
    const kind = make("select", { class: "select", "aria-label": of("Type") });
    const known = Object.entries(TYPES).map(([value, [label]]) => [value, label]);
    if (field.kind === "other") known.push(["other", "Other, see JSON"]);
    for (const [value, label] of known) kind.append(make("option", { value }, label));
    kind.value = field.kind;
    const about = make("input", {
      class: "input wide", "aria-label": of("Description"), placeholder: "What it is (optional)",
      maxlength: "500", autocomplete: "off",
    });
    about.value = field.description ?? "";
    const choices = make("input", {
      class: "input wide", "aria-label": of("Choices"), placeholder: "choices, as in good, bad",
      autocomplete: "off",
    });
    choices.value = field.choices.join(", ");
    choices.hidden = field.kind !== "choice";
    const needed = make("input", { type: "checkbox" });
    needed.checked = field.required;
    const remove = make("button", {
      type: "button", class: "btn btn-quiet btn-icon push", "aria-label": `Remove field ${field.name || place + 1}`,
    }, icon("delete"));
    const kept = Object.entries(field.kind === "other" ? {} : field.rest).map(([key, value]) => `${key} ${JSON.stringify(value)}`);
    const foot = make("div", { class: "cluster wide" }, make("label", { class: "checkbox small" }, needed, "Required"));
    if (kept.length > 0) foot.append(make("span", { class: "muted small mono" }, kept.join(", ")));
    foot.append(remove);

    name.addEventListener("input", () => this.change(() => { field.name = name.value.trim(); }));
    about.addEventListener("input", () => this.change(() => { field.description = about.value.trim(); }));
    choices.addEventListener("input", () => this.change(() => {
      const found = choices.value.split(",").map((text) => text.trim()).filter((text) => text !== "");
      field.choices = [...new Set(found)];
    }));
    needed.addEventListener("change", () => this.change(() => { field.required = needed.checked; }));
    kind.addEventListener("change", () => this.change(() => {
      field.kind = kind.value;
      field.rest = {};
      choices.hidden = field.kind !== "choice";
      foot.querySelector(".mono")?.remove();
    }));
    remove.addEventListener("click", () => {
      this.change(() => this.model.fields.splice(place, 1));
      this.draw();
      const next = this.rows.children[Math.min(place, this.rows.children.length - 1)];
      (next?.querySelector("input") ?? this.add).focus();
    });
    return make("li", { class: "schema-row" }, name, kind, about, choices, foot);
  }

  change(act) {
    act();
    this.changed();
  }
}

export function enhanceSchemas(root) {
  for (const area of root.querySelectorAll("textarea[data-schema]")) {
    new Editor(area, root.querySelector(`label[for="${area.id}"]`).textContent.trim());
  }
}
