/* Fetches the regions of a page again that name where from: <section data-live="/url/" data-live-every="3">.

   The answer to a region's request is its new content; its Retry-After says in how many seconds to ask again, and
   without one that was the last. Nothing is asked for while the page is hidden, nor while somebody uses the region:
   something in it is ticked, open, or has the focus. */
(() => {
  "use strict";
  const LONGEST = 60;
  const IN_USE = "input:checked, details[open], dialog[open]";

  const inUse = (region) =>
    document.hidden || region.querySelector(IN_USE) !== null ||
    (region.contains(document.activeElement) && region !== document.activeElement);

  const replace = (region, html) => {
    region.setAttribute("aria-busy", "true");
    const made = new DOMParser().parseFromString(html, "text/html");
    const now = [...region.childNodes];
    const next = [...made.body.childNodes];
    // What is as it was stays: nobody is told of it again, and nothing selected is lost.
    next.forEach((node, place) => {
      if (!now[place]) region.append(node);
      else if (!now[place].isEqualNode(node)) now[place].replaceWith(node);
    });
    now.slice(next.length).forEach((node) => node.remove());
    region.removeAttribute("aria-busy");
  };

  const watch = (region) => {
    // A page may include the script twice.
    if (region.dataset.liveWatched) return;
    region.dataset.liveWatched = "yes";
    const usual = Math.max(1, Number(region.dataset.liveEvery) || 3);
    let tag = "";
    let wait = usual;

    const ask = async () => {
      if (!region.isConnected) return;
      if (inUse(region)) return later(usual);
      const headers = { Accept: "text/html", "X-Requested-With": "task-safety-live" };
      if (tag) headers["If-None-Match"] = tag;
      try {
        const answer = await fetch(region.dataset.live, { headers, cache: "no-store", credentials: "same-origin" });
        if (answer.status === 404 || answer.status === 403 || answer.status === 204) return;
        if (!answer.ok && answer.status !== 304) throw new Error(answer.status);
        if (answer.status === 200) {
          const html = await answer.text();
          // Somebody may have begun to use it meanwhile.
          if (inUse(region)) return later(usual);
          tag = answer.headers.get("ETag") || "";
          replace(region, html);
        }
        const next = Number(answer.headers.get("Retry-After"));
        if (next > 0) later((wait = Math.min(next, LONGEST)));
        else region.dispatchEvent(new CustomEvent("task-safety-live-end", { bubbles: true }));
      } catch {
        later((wait = Math.min(wait * 2, LONGEST)));
      }
    };
    const later = (seconds) => setTimeout(ask, seconds * 1000);
    later(usual);
  };

  const start = () => document.querySelectorAll("[data-live]").forEach(watch);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
