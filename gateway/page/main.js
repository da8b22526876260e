// The page: which view is shown, whether there is a key, and what is asked again and again.

import { byId } from "./dom.js";
import { authorization, forgetKey, hasKey, keepKey } from "./key.js";
import { startPlayground } from "./playground.js";
import { Poll } from "./poll.js";
import { showSilence, showStatus } from "./status.js";

const POLL_MS = 2000;
const UNAUTHORIZED = 401;
const VIEWS = ["status", "playground"];

async function ask() {
  let response;
  try {
    response = await fetch("status", { headers: authorization(), cache: "no-store" });
  } catch {
    showSilence();
    return;
  }
  if (response.status === UNAUTHORIZED) {
    forgetKey();
    askForKey("This is not a key of this endpoint.");
    return;
  }
  if (!response.ok) {
    showSilence();
    return;
  }
  const status = await response.json();
  showStatus(status);
  open("slots" in status);
}

/** Show what needs a key, or ask for one. */
function open(isOpen) {
  byId("ask-key").hidden = isOpen;
  byId("bench").hidden = !isOpen;
  byId("forget").hidden = !hasKey();
}

function askForKey(problem) {
  open(false);
  byId("figures").hidden = true;
  byId("key-error").textContent = problem;
  byId("key-error").hidden = problem === "";
}

function showView() {
  const wanted = location.hash.slice(1);
  const shown = VIEWS.includes(wanted) ? wanted : "status";
  for (const view of VIEWS) byId(view).hidden = view !== shown;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${shown}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function showLive(isLive) {
  const button = byId("live");
  button.setAttribute("aria-pressed", String(isLive));
  button.textContent = isLive ? "Live" : "Paused";
}

const poll = new Poll(ask, POLL_MS, showLive);

byId("ask-key").addEventListener("submit", (event) => {
  event.preventDefault();
  keepKey(byId("key").value.trim());
  byId("key").value = "";
  byId("key-error").hidden = true;
  poll.now();
});
byId("forget").addEventListener("click", () => {
  forgetKey();
  location.reload(); // with all that it has opened
});
byId("live").addEventListener("click", () => poll.turn(!poll.isLive));
addEventListener("hashchange", showView);
showView();
startPlayground();
poll.settle();
