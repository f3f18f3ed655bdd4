/* Django's script of the actions knows the rows that were there when the page was loaded: tell it of new ones. */
(() => {
  "use strict";
  const rows = document.getElementById("ts-rows");
  if (!rows || !window.Actions) return;
  new MutationObserver(() => {
    const boxes = rows.querySelectorAll("tr input.action-select");
    if (boxes.length) window.Actions(boxes);
  }).observe(rows, { childList: true });
})();
