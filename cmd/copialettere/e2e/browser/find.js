(kind, name) => {
  const names = name.toLowerCase().split("|");
  const plain = text => (text || "").replace(/\s+/g, " ").trim().toLowerCase();
  // What is in a closed details element has a place, but cannot be seen.
  const visible = e => e.getClientRects().length > 0 && e.checkVisibility({visibilityProperty: true});
  const labelled = e => {
    const by = (e.getAttribute("aria-labelledby") || "").split(" ").filter(Boolean).map(id => document.getElementById(id)?.textContent).join(" ");
    const labels = [...(e.labels || [])].map(l => l.textContent);
    return [by, e.getAttribute("aria-label"), ...labels].map(plain);
  };
  const texts = {
    press: e => [plain(e.innerText), plain(e.textContent), plain(e.getAttribute("aria-label")), plain(e.type === "submit" ? e.value : ""), plain(e.title)],
    field: labelled,
    choose: labelled,
  }[kind];
  const selector = {
    press: "a[href], button, input[type=submit], summary",
    field: "input:not([type=hidden]):not([type=radio]):not([type=checkbox]):not([type=submit]), textarea, select",
    choose: "input[type=radio], input[type=checkbox]",
  }[kind];
  // The element with exactly this name comes before one that begins with it, and that before one that has it somewhere.
  const ranks = [(t, n) => t === n, (t, n) => t.startsWith(n), (t, n) => t.includes(n)];
  const all = [...document.querySelectorAll(selector)].filter(e => visible(e) || (e.labels && [...e.labels].some(visible)));
  for (const rank of ranks) {
    for (const e of all) {
      if (!texts(e).some(t => names.some(n => rank(t, n)))) continue;
      const target = visible(e) && e.getBoundingClientRect().width > 2 ? e : [...e.labels].find(visible);
      target.scrollIntoView({block: "center", inline: "center", behavior: "instant"});
      if (kind === "field") e.focus();
      const box = target.getClientRects()[0];
      return {X: box.x + box.width / 2, Y: box.y + box.height / 2};
    }
  }
  return null;
}
