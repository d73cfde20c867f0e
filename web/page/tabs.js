// Tabs as the ARIA practices describe them: arrows, Home and End move, one tab is in the order of focus.

/**
 * Makes the children with `role="tab"` of `list` switch their panels (`aria-controls`).
 *
 * @param {HTMLElement} list the element with `role="tablist"`
 * @param {(name: string) => void} changed called with `data-tab` of the tab that is shown
 * @returns {(name: string) => boolean} shows a tab by name; `false` if there is none of that name
 */
export function tabs(list, changed) {
  const all = [...list.querySelectorAll('[role="tab"]')];
  const show = (tab) => {
    for (const other of all) {
      const selected = other === tab;
      other.setAttribute("aria-selected", String(selected));
      other.tabIndex = selected ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !selected;
    }
    changed(tab.dataset.tab);
  };
  list.addEventListener("click", (event) => {
    const tab = event.target.closest('[role="tab"]');
    if (tab) show(tab);
  });
  list.addEventListener("keydown", (event) => {
    const at = all.indexOf(document.activeElement);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || next === undefined) return;
    event.preventDefault();
    const tab = all[(next + all.length) % all.length];
    tab.focus();
    show(tab);
  });
  return (name) => {
    const tab = all.find((one) => one.dataset.tab === name);
    if (tab) show(tab);
    return Boolean(tab);
  };
}
