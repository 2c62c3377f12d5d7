() => {
  const root = document.documentElement;
  const name = e => e.outerHTML.slice(0, 160).replace(/\s+/g, " ");
  const all = [...document.body.querySelectorAll("*")];
  const width = root.clientWidth;
  const found = [];
  if (root.scrollWidth > width) {
    found.push(`wider than the window of ${width}: ${root.scrollWidth}: ` + all.filter(e => e.getBoundingClientRect().right > width + 1).slice(0, 3).map(name).join("; "));
  }
  for (const e of all) {
    const style = getComputedStyle(e);
    // What is one pixel wide is for screen readers.
    if (!["hidden", "clip"].includes(style.overflowX) && !["hidden", "clip"].includes(style.overflowY) || e.clientWidth <= 1 || e instanceof SVGElement) continue;
    if (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1) found.push("cut off: " + name(e));
  }
  return found;
}
