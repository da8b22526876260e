// The status view: what `GET status` says, drawn.

import { bars, line, part } from "./charts.js";
import { byId, el } from "./dom.js";
import { clock, count, handled, number, secondsBetween, span, state, tone, words } from "./words.js";

const TTFT_BARS = 48;
const CALL_OUTCOMES = ["valid", "normalized", "repaired", "invalid", "refused"];
const UNKNOWN = "Nothing is known of it: somebody else runs the server.";
const SHOWN_STATES = 6;
const SHOWN_RESTARTS = 5;
const SHOWN_REQUESTS = 12;

const drawn = new Map(); // what each part was last drawn from: one that has not changed is left alone

/** Show a status. What needs a key is hidden if it is not there. */
export function showStatus(status) {
  const [name, stateTone] = state(status.state);
  showState(name, stateTone, note(status, stateTone));
  byId("served").textContent = status.model ?? "This endpoint";
  byId("figures").hidden = !("slots" in status);
  if (!("slots" in status)) return;
  draw("slots", status.slots, slots);
  draw("queue", status.slots, queue);
  draw("throughput", status.tokens_per_interval, throughput);
  draw("ttft", status.requests.last, firstTokens);
  draw("history", [status.history, status.now], () => history(status.history ?? [], status.now));
  draw("start", [status.start, status.phases, status.load_seconds], () => start(status));
  draw("calls", status.tool_calls, calls);
  draw("restarts", [status.restarts, status.failures], () => restarts(status));
  draw("requests", status.requests.last, requests);
}

/** Say that nothing is known. */
export function showSilence() {
  showState("No answer", "bad", "The gateway cannot be reached. What stands here is the last that came of it.");
}

function showState(name, stateTone, more) {
  const said = byId("state-name");
  if (said.textContent !== name) said.textContent = name; // it is read out when it changes
  byId("state").className = `tone-${stateTone}`;
  byId("state-note").textContent = more;
  document.title = `${name} · warmgate`;
}

function draw(id, data, render) {
  const source = JSON.stringify(data);
  if (drawn.get(id) === source) return;
  drawn.set(id, source);
  byId(id).replaceChildren(...[render(data)].flat());
}

function note(status, stateTone) {
  const parts = [];
  if (status.since) parts.push(`for ${span(secondsBetween(status.since, status.now))}`);
  if (status.last_error && stateTone === "bad") parts.push(status.last_error.message);
  return parts.join(" · ");
}

function figure(value, unit) {
  return el("p.figure", {}, String(value), el("small", {}, unit));
}

function aside(text) {
  return el("p.aside", {}, text);
}

function nothing(text) {
  return el("p.nothing", {}, text);
}

function slots({ busy, total }) {
  const pips = Array.from({ length: total }, (_, i) => el(i < busy ? "i.on" : "i"));
  return [figure(busy, `of ${total} busy`), el("div.pips", { "aria-hidden": "true" }, ...pips)];
}

function queue({ waiting, most_waiting: most }) {
  return [figure(waiting, "waiting"), aside(`room for ${most}`)];
}

function throughput({ seconds: interval, values }) {
  const rates = values.slice(0, -1).map((tokens) => tokens / interval); // the last interval is not over
  const now = rates.at(-1);
  const most = Math.max(...rates);
  const minutes = Math.round((values.length * interval) / 60);
  const label = `Tokens per second over ${count(minutes, "minute")}: now ${number(now)}, highest ${number(most)}`;
  return [figure(number(now), "tok/s"), line(rates, label), aside(`highest ${number(most)} in ${minutes} min`)];
}

function firstTokens(requests) {
  const times = requests.map((request) => request.first_token_seconds).filter((time) => time !== null);
  if (!times.length) return nothing("No request has been answered yet.");
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  const shown = times.slice(0, TTFT_BARS).reverse();
  const label = `Time to first token of the last ${count(shown.length, "request")}: median ${span(at(0.5))}`;
  return [
    figure(span(at(0.5)), "median"),
    bars(shown, TTFT_BARS, label),
    aside(`95% under ${span(at(0.95))}, last ${span(times[0])}`),
  ];
}

function history(states, now) {
  if (!states.length) return nothing(UNKNOWN);
  const ends = [...states.slice(1).map((each) => each.since), now];
  const spans = states.map((each, i) => ({ ...each, seconds: secondsBetween(each.since, ends[i]) }));
  const strip = el("div.strip", { "aria-hidden": "true" }, ...spans.map((each) => segment(each)));
  const rows = spans.slice(-SHOWN_STATES).reverse().map((each) => {
    const [name, stateTone] = state(each.state);
    return el(`li.tone-${stateTone}`, {}, el("b", {}, name), el("span", {}, span(each.seconds)), moment(each.since));
  });
  return [strip, el("ol.rows", {}, ...rows)];
}

/** A piece of the strip. Its length grows with the time's root: seconds stay visible beside days. */
function segment({ state: name, seconds }) {
  const piece = el(`i.tone-${state(name)[1]}`, { title: `${state(name)[0]}, ${span(seconds)}` });
  piece.style.flexGrow = Math.sqrt(seconds + 0.01);
  return piece;
}

const STARTS = {
  cold: "from the weights",
  restored: "from a snapshot",
  unparked: "from its sleep",
};

function start({ start: kind, phases, load_seconds: load }) {
  const named = Object.entries(phases ?? {});
  const total = named.reduce((sum, [, seconds]) => sum + seconds, 0) || load;
  if (!total) return nothing(load === undefined ? UNKNOWN : "It has not been ready yet.");
  let begin = 0;
  const rows = named.map(([name, seconds]) => {
    const drawing = part(begin, seconds, total);
    begin += seconds;
    return el("li", {}, words(name), el("span", {}, span(seconds)), drawing);
  });
  return [figure(span(total), STARTS[kind] ?? ""), el("ol.phases", {}, ...rows)];
}

function calls({ outcomes, asked_again: again }) {
  const found = CALL_OUTCOMES.filter((outcome) => outcomes[outcome]);
  const total = found.reduce((sum, outcome) => sum + outcomes[outcome], 0);
  if (!total) return nothing("None yet.");
  const share = found.map((outcome) => {
    const piece = el(`i.tone-${tone(outcome)}`);
    piece.style.flexGrow = outcomes[outcome];
    return piece;
  });
  const rows = found.map((outcome) =>
    el(`li.tone-${tone(outcome)}`, {}, el("b", {}, words(outcome)), el("span", {}, percent(outcomes[outcome] / total)),
      el("time", {}, number(outcomes[outcome]))),
  );
  return [
    figure(number(total), total === 1 ? "call" : "calls"),
    el("div.share", { "aria-hidden": "true" }, ...share),
    el("ul.rows", {}, ...rows),
    aside(again ? `The model was asked again ${count(again, "time")}.` : "The model never had to be asked again."),
  ];
}

function moment(timestamp) {
  return el("time", { datetime: timestamp }, clock(timestamp));
}

function percent(share) {
  return `${number(share * 100)}%`;
}

function restarts({ restarts: total, restarts_by_reason: reasons, failures }) {
  if (!failures) return nothing(UNKNOWN);
  if (!failures.length) return nothing("None since this process began.");
  const rows = failures.slice(-SHOWN_RESTARTS).reverse().map((each) =>
    el("li.tone-bad", {}, el("b", {}, words(each.kind)), el("span"), moment(each.at), el("p", {}, each.message)),
  );
  const counted = Object.entries(reasons).map(([reason, times]) => `${times} ${words(reason).toLowerCase()}`);
  const unit = total === 1 ? "restart" : "restarts";
  return [figure(total, counted.length > 1 ? `${unit}: ${counted.join(", ")}` : unit), el("ol.rows", {}, ...rows)];
}

const COLUMNS = [
  ["When", "", (r) => moment(r.at)],
  ["Key", "spare", (r) => r.key],
  ["Route", "spare", (r) => words(r.route)],
  ["Outcome", "", (r) => badge(r.outcome)],
  ["Tool calls", "spare", (r) => (r.tool_calls ? badge(r.tool_calls, r.attempts) : "")],
  ["Queued", "number spare", (r) => (r.queued_seconds < 0.001 ? "" : span(r.queued_seconds))],
  ["First token", "number", (r) => (r.first_token_seconds === null ? "" : span(r.first_token_seconds))],
  ["Whole", "number spare", (r) => span(r.seconds)],
  ["Prompt", "number spare", (r) => r.prompt_tokens.toLocaleString("en")],
  ["Answer", "number", (r) => r.completion_tokens.toLocaleString("en")],
];

function requests(last) {
  if (!last.length) return nothing("None yet.");
  const row = (name, cells) => el("tr", {}, ...cells.map(([classes, cell]) => el(name, { class: classes || undefined }, cell)));
  const head = row("th", COLUMNS.map(([title, classes]) => [classes, title]));
  const body = last.slice(0, SHOWN_REQUESTS).map((each) => row("td", COLUMNS.map(([, classes, cell]) => [classes, cell(each)])));
  return el("table", {}, el("thead", {}, head), el("tbody", {}, ...body));
}

/** What is as it should be is said plainly; the rest stands out. */
function badge(outcome, attempts = 1) {
  const toned = tone(outcome);
  return el(toned === "good" ? "span.plain" : `span.tag.tone-${toned}`, {}, handled(outcome, attempts));
}
