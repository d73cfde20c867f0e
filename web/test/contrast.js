// The contrast of text and its ground, by WCAG 2.2.

/** Returns the texts that are seen, with their colours as [r, g, b]. Runs in the page. */
export function texts() {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const channels = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const holder = walker.currentNode.parentElement;
    const hidden = !holder.checkVisibility() || holder.closest("script, option, title, .skip, :disabled");
    if (!text || hidden) continue;
    const style = getComputedStyle(holder);
    let ground = holder;
    while (ground && channels(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
    found.push({
      text,
      colour: channels(holder instanceof SVGElement ? style.fill : style.color).slice(0, 3),
      ground: channels(getComputedStyle(ground ?? document.documentElement).backgroundColor).slice(0, 3),
      size: Number.parseFloat(style.fontSize),
    });
  }
  return found;
}

/** Returns the relative luminance of [r, g, b]. */
function luminance(colour) {
  const [red, green, blue] = colour.map((channel) => {
    const value = channel / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** Returns the contrast of two colours, 1 to 21. */
export function ratio(one, other) {
  const [dark, light] = [luminance(one), luminance(other)].sort((first, second) => first - second);
  return (light + 0.05) / (dark + 0.05);
}
