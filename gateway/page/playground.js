// The playground: keeps a conversation, sends it, and shows what comes.

import { byId, el } from "./dom.js";
import { dataUrl } from "./image.js";
import { instructions, requestFields, watchOptions } from "./options.js";
import { chat } from "./stream.js";
import { ModelTurn, userTurn } from "./turns.js";

const NEAR_END_PX = 160;

let messages = [];
let image = null;
let running = null; // the answer under way, as an AbortController

/** Let everything in the view work. */
export function startPlayground() {
  watchOptions();
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    sendPrompt();
  });
  byId("prompt").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    sendPrompt();
  });
  byId("stop").addEventListener("click", () => running?.abort());
  byId("clear").addEventListener("click", clear);
  byId("image").addEventListener("change", attach);
  if (matchMedia("(max-width: 56rem)").matches) byId("options").open = false;
}

function sendPrompt() {
  const prompt = byId("prompt");
  const text = prompt.value.trim();
  if (running || (!text && !image)) return;
  const fields = requestFields();
  if (fields === null) return;
  const parts = [{ type: "text", text }, { type: "image_url", image_url: { url: image } }];
  messages.push({ role: "user", content: image ? parts : text });
  byId("log").append(userTurn(text, image));
  prompt.value = "";
  detach();
  answer(fields);
}

async function answer(fields) {
  const turn = new ModelTurn(giveBack);
  const conversation = messages;
  byId("log").append(turn.element);
  scrollToEnd(true);
  setRunning(new AbortController());
  try {
    const body = { messages: [...instructions(), ...conversation], ...fields };
    for await (const { chunk, calls } of chat(body, running.signal)) {
      if (calls) turn.judge(calls);
      if (chunk) turn.add(chunk);
      scrollToEnd(false);
    }
  } catch (error) {
    if (!running.signal.aborted) turn.fail(error);
  } finally {
    turn.end();
    if (turn.text || turn.calls.length) conversation.push(turn.message());
    else if (conversation.at(-1)?.role === "user") conversation.pop(); // it was not answered: it can be asked again
    setRunning(null);
    scrollToEnd(false);
  }
}

/** Take a call's result; when all have theirs, the model goes on. */
function giveBack(id, content) {
  messages.push({ role: "tool", tool_call_id: id, content });
  const given = new Set(messages.filter((each) => each.role === "tool").map((each) => each.tool_call_id));
  const isComplete = messages.flatMap((each) => each.tool_calls ?? []).every((call) => given.has(call.id));
  const fields = isComplete && !running ? requestFields() : null;
  if (fields !== null) answer(fields);
}

function setRunning(controller) {
  running = controller;
  byId("stop").hidden = controller === null;
  byId("send").hidden = controller !== null;
  byId("log").setAttribute("aria-busy", String(controller !== null));
}

function clear() {
  running?.abort();
  messages = [];
  byId("log").replaceChildren();
  detach();
  byId("prompt").focus();
}

async function attach({ target }) {
  const [file] = target.files;
  if (!file) return;
  const box = byId("attached");
  try {
    image = await dataUrl(file);
    const remove = el("button.quiet", { type: "button" }, "Remove");
    remove.addEventListener("click", detach);
    box.replaceChildren(el("img", { src: image, alt: "" }), el("span", {}, file.name), remove);
  } catch (error) {
    image = null;
    box.replaceChildren(el("p.error", { role: "alert" }, error.message));
  }
  box.hidden = false;
}

function detach() {
  image = null;
  byId("image").value = "";
  byId("attached").hidden = true;
}

/** Follow the answer, unless the person has scrolled away from it. */
function scrollToEnd(always) {
  const root = document.documentElement;
  const left = root.scrollHeight - root.clientHeight - root.scrollTop;
  if (always || left < NEAR_END_PX) root.scrollTop = root.scrollHeight;
}
