// Small helpers for the document.

/**
 * Returns a copy of a template's content.
 *
 * @param {string} id
 * @returns {HTMLElement} its first element
 */
export function copy(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

/**
 * Returns the elements of `root` that have `data-part`, by that name.
 *
 * @param {ParentNode} root
 * @returns {Record<string, HTMLElement>}
 */
export function parts(root) {
  return Object.fromEntries([...root.querySelectorAll("[data-part]")].map((one) => [one.dataset.part, one]));
}

/**
 * Creates an element.
 *
 * @param {string} name
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} children
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/**
 * Writes a text into an element. What stands between backticks is code.
 *
 * @param {HTMLElement} place
 * @param {string} text
 */
export function write(place, text) {
  place.replaceChildren(...text.split("`").map((part, at) => (at % 2 ? element("code", {}, part) : part)));
}

/** Replaces the options of a select, keeping its value where there still is one. */
export function options(select, entries) {
  const before = select.value;
  select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
  if (entries.some(([value]) => value === before)) select.value = before;
}

/** Returns the fields of a form as text; a box that is ticked is `1`, one that is not is `0`. */
export function fields(form) {
  const named = [...form.elements].filter((one) => one.name && (one.type !== "radio" || one.checked));
  return Object.fromEntries(named.map((one) => [one.name, one.type === "checkbox" ? (one.checked ? "1" : "0") : one.value]));
}

/** Sets the fields of a form. Values that a field does not take leave it as it is. */
export function restore(form, values) {
  for (const [name, value] of Object.entries(values)) {
    const field = form.elements[name];
    if (!field) continue;
    if (field instanceof RadioNodeList) {
      if ([...field].some((one) => one.value === value)) field.value = value;
    } else if (field.type === "checkbox") {
      field.checked = value === "1";
    } else if (field.tagName === "SELECT") {
      if ([...field.options].some((one) => one.value === value)) field.value = value;
    } else if (value !== "" && Number.isFinite(Number(value))) {
      const [low, high] = [field.min, field.max].map(Number);
      field.value = String(Math.min(high, Math.max(low, Number(value))));
    }
  }
}

/** Writes the values of sliders beside their names. */
export function readouts(form) {
  for (const value of form.querySelectorAll("[data-for]")) {
    value.textContent = form.elements[value.dataset.for].value;
  }
}
