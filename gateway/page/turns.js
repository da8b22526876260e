// How one turn of a conversation looks, while it is written and after.

import { el } from "./dom.js";
import { handled, number, span, tone } from "./words.js";

/** Return what the person said. */
export function userTurn(text, image) {
  return el("article.turn.user", {},
    el("h2.sr", {}, "You"),
    image ? el("img", { src: image, alt: "Attached picture" }) : null,
    el("p.said", {}, text));
}

/** The model's turn: grows as the answer comes. */
export class ModelTurn {
  /**
   * @param {(id: string, result: string) => void} onResult Told what the person gives back for a call.
   */
  constructor(onResult) {
    this.onResult = onResult;
    this.element = el("article.turn.model.writing", { "aria-busy": "true" }, el("h2.sr", {}, "The model"));
    this.thought = "";
    this.text = "";
    this.calls = [];
    this.thoughtSaid = null;
    this.said = null;
    this.asked = performance.now();
    this.first = null;
    this.last = null;
    this.usage = null;
    this.finish = "";
  }

  /** Take a chunk of the stream. */
  add(chunk) {
    this.usage = chunk.usage ?? this.usage;
    for (const { delta, finish_reason: finish } of chunk.choices) {
      this.finish = finish ?? this.finish;
      if (delta.reasoning_content) this.think(delta.reasoning_content);
      if (delta.content) this.say(delta.content);
      for (const call of delta.tool_calls ?? []) this.call(call);
    }
  }

  think(piece) {
    this.note();
    this.thought += piece;
    if (this.thoughtSaid === null) {
      this.thoughtSaid = el("div.said");
      this.element.append(el("details.thought", { open: true }, el("summary", {}, "Thought"), this.thoughtSaid));
    }
    this.thoughtSaid.append(piece);
  }

  say(piece) {
    this.note();
    this.text += piece;
    if (this.said === null) {
      this.closeThought();
      this.said = el("div.said");
      this.element.append(this.said);
    }
    this.said.append(piece);
  }

  call(call) {
    this.note();
    this.closeThought();
    this.calls.push({ id: call.id, type: "function", function: call.function });
    this.element.append(this.card(call));
  }

  /** Say what became of the calls, in the contract's words: `repaired; attempts=2`. */
  judge(report) {
    const [outcome, attempts] = report.split("; attempts=");
    this.outcome = handled(outcome, attempts);
    const tags = this.element.querySelectorAll(".call .tag");
    for (const tag of tags) {
      tag.className = `tag tone-${tone(outcome)}`;
      tag.textContent = this.outcome;
    }
  }

  /** Close the turn: nothing more comes. */
  end() {
    this.element.classList.remove("writing");
    this.element.removeAttribute("aria-busy");
    this.closeThought();
    const facts = this.facts();
    if (facts.length) this.element.append(el("p.facts", {}, ...facts.map((fact) => el("span", {}, fact))));
  }

  /** Say what went wrong, as it was said to us. */
  fail({ message, details = {} }) {
    const more = [details.status, details.code, details.param].filter(Boolean).join(" · ");
    const again = details.retryAfter ? ` Try again in ${details.retryAfter} s.` : "";
    this.element.append(
      el("div.refusal", { role: "alert" }, el("b", {}, "No complete answer"), message + again, more ? el("p.facts", {}, more) : null),
    );
  }

  /** Return it as the API's message, for what comes next. */
  message() {
    const message = { role: "assistant", content: this.text };
    return this.calls.length ? { ...message, tool_calls: this.calls } : message;
  }

  note() {
    this.last = performance.now();
    this.first ??= this.last;
  }

  closeThought() {
    this.element.querySelector(".thought")?.removeAttribute("open");
  }

  facts() {
    const found = [];
    if (this.first !== null) found.push(`first token ${span((this.first - this.asked) / 1000)}`);
    if (this.usage) {
      const { prompt_tokens: read, completion_tokens: written, completion_tokens_details: details } = this.usage;
      const seconds = (this.last - this.first) / 1000;
      if (written > 1 && seconds > 0) found.push(`${number(written / seconds)} tok/s`);
      found.push(`${read.toLocaleString("en")} read, ${written.toLocaleString("en")} written`);
      if (details?.reasoning_tokens) found.push(`${details.reasoning_tokens.toLocaleString("en")} of thought`);
    }
    if (this.finish === "length") found.push("cut off by the bound on tokens");
    if (this.outcome && !this.calls.length) found.push(`tool call ${this.outcome.toLowerCase()}`);
    return found;
  }

  card(call) {
    const result = el("input", { "aria-label": `Result of ${call.function.name}`, placeholder: "Its result, to go on" });
    const form = el("form", {}, result, el("button", { type: "submit" }, "Give back"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      form.replaceWith(el("pre.result", {}, result.value));
      this.onResult(call.id, result.value);
    });
    return el("div.call", {},
      el("header", {}, el("code", {}, call.function.name), el("span.tag")),
      el("pre", {}, pretty(call.function.arguments)),
      form);
  }
}

function pretty(json) {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}
