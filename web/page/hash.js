// The state of the page in the fragment of its address: `#digits?seed=3&steps=8`. Fields at their defaults are left out,
// and what does not fit a field is ignored, since anyone may write an address.

/**
 * Returns the tab and the fields of an address's fragment.
 *
 * @param {string} fragment `location.hash`, with or without `#`
 * @returns {{tab: string, fields: Record<string, string>}}
 */
export function parse(fragment) {
  const [tab, query = ""] = fragment.replace(/^#/, "").split("?");
  return { tab, fields: Object.fromEntries(new URLSearchParams(query)) };
}

/**
 * Returns the fragment for a tab and the fields that differ from their defaults, sorted by name.
 *
 * @param {string} tab
 * @param {Record<string, string>} fields
 * @param {Record<string, string>} defaults
 * @returns {string} begins with `#`
 */
export function format(tab, fields, defaults = {}) {
  const changed = Object.entries(fields).filter(([name, value]) => String(value) !== String(defaults[name] ?? ""));
  changed.sort(([one], [other]) => (one < other ? -1 : 1));
  const query = new URLSearchParams(changed).toString();
  return `#${tab}${query ? `?${query}` : ""}`;
}
