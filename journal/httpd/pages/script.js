"use strict";
(function () {
  var zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone) document.cookie = "zone=" + encodeURIComponent(zone) + ";path=/;max-age=31536000;samesite=lax" + (location.protocol === "https:" ? ";secure" : "");
  document.addEventListener("click", function (e) {
    var b = e.target.closest("[data-copy]");
    if (b && navigator.clipboard) navigator.clipboard.writeText(b.dataset.copy).then(function () { b.textContent = b.dataset.copied; });
  });
  document.addEventListener("click", function (e) { if (e.target.closest("[data-print]")) print(); });
  document.addEventListener("change", function (e) {
    var box = e.target;
    if (box.matches("[data-submit]")) box.form.requestSubmit();
    if (box.matches("[data-most]")) {
      var size = Array.from(box.files).reduce(function (sum, one) { return sum + one.size; }, 0);
      box.setCustomValidity(size > Number(box.dataset.most) ? box.dataset.large : "");
    }
    if (box.matches("[data-all]")) document.querySelectorAll('input[name="' + box.dataset.all + '"]').forEach(function (one) { one.checked = box.checked; });
  });
  var live = document.querySelector("[data-live]");
  function look() {
    fetch(location.pathname).then(function (r) { if (!r.ok) throw r; return r.text(); }).then(function (text) {
      var now = new DOMParser().parseFromString(text, "text/html").getElementById(live.id);
      if (!now) return;
      // What somebody is about to press stays where it is.
      if (!live.contains(document.activeElement)) {
        live.replaceWith(now);
        live = now;
      }
      if (live.dataset.live) setTimeout(look, 2000);
    }).catch(function () { setTimeout(look, 10000); });
  }
  if (live) setTimeout(look, 2000);
  document.querySelectorAll("[data-script]").forEach(function (one) { one.hidden = one.dataset.script === "hide"; });
})();
