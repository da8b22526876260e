// Numbers, times and names, as a person reads them.

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Return a span of time, in the two units that matter: `3 h 12 min`, `2.4 s`, `85 ms`. */
export function span(seconds) {
  if (seconds < 0.995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < MINUTE) return `${whole} s`;
  if (whole < HOUR) return pair(whole, MINUTE, "min", 1, "s");
  if (whole < DAY) return pair(whole, HOUR, "h", MINUTE, "min");
  return pair(whole, DAY, "d", HOUR, "h");
}

function pair(seconds, large, largeName, small, smallName) {
  const rest = Math.floor((seconds % large) / small);
  return `${Math.floor(seconds / large)} ${largeName}` + (rest ? ` ${rest} ${smallName}` : "");
}

/** Return a number with as many digits as help. */
export function number(value) {
  return value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });
}

/** Return `1 request`, `2 requests`. */
export function count(value, noun) {
  return `${value.toLocaleString("en")} ${noun}${value === 1 ? "" : "s"}`;
}

/** Return how many seconds lie between two points in time, as the gateway writes them; never less than none. */
export function secondsBetween(earlier, later) {
  return Math.max(0, (Date.parse(later) - Date.parse(earlier)) / 1000);
}

/** Return the time of day of a point in time, with the date if it was not today. */
export function clock(timestamp) {
  const then = new Date(timestamp);
  const time = then.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  const isToday = then.toDateString() === new Date().toDateString();
  return isToday ? time : `${then.toLocaleDateString([], { day: "numeric", month: "short" })} ${time}`;
}

/** Return a program's word as a person's: `warm_up` is `Warm up`. */
export function words(name) {
  const spaced = name.replaceAll("_", " ");
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}

const STATES = {
  ready: ["Ready", "good"],
  starting: ["Starting", "busy"],
  loading: ["Loading the model", "busy"],
  warming: ["Warming up", "busy"],
  restoring: ["Waking up", "busy"],
  backoff: ["Down, about to restart", "bad"],
  failed: ["Failed", "bad"],
  draining: ["Shutting down", "rest"],
  stopped: ["Stopped", "rest"],
  unreachable: ["Unreachable", "bad"],
  parking: ["Falling asleep", "rest"],
  parked: ["Asleep", "rest"],
};

/** Return a state's name, and the tone that it is shown in. */
export function state(name) {
  return STATES[name] ?? [words(name), "rest"];
}

const OUTCOMES = {
  valid: "good",
  normalized: "busy",
  repaired: "accent",
  invalid: "bad",
  refused: "bad",
  ok: "good",
  cancelled: "rest",
  overloaded: "busy",
  not_ready: "busy",
};

/** Return what became of tool calls, and how many answers of the model it took if more than one. */
export function handled(outcome, attempts) {
  return words(outcome) + (attempts > 1 ? `, ${attempts} attempts` : "");
}

/** Return the tone of what became of a request or of a tool call. */
export function tone(outcome) {
  return OUTCOMES[outcome] ?? "bad";
}
