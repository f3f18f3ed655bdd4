/* The script of the actions knows the rows that were there when the page was loaded: tell it of new ones. */
document.addEventListener("DOMContentLoaded", () => {
  "use strict";
  // The button of django-unfold that shows the filters is a link to nowhere, which no keyboard reaches.
  document.querySelectorAll("a.filter-open-button").forEach((one) => (one.href = "#changelist-filter"));
  const rows = document.getElementById("ts-rows");
  if (!rows || !window.Actions) return;
  // Of django-unfold, whose script looks for everything in there.
  const parent = rows.closest(".result-list-wrapper") || document;
  new MutationObserver(() => {
    const boxes = rows.querySelectorAll("tr input.action-select");
    if (!boxes.length) return;
    parent.querySelectorAll(".action-counter").forEach((one) => (one.dataset.actionsIcnt = boxes.length));
    window.Actions(boxes, { parent });
  }).observe(rows, { childList: true });
});
