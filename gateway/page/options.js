// What the person asked for beside the message, as fields of a request.

import { byId } from "./dom.js";

const EXAMPLE = [
  {
    type: "function",
    function: {
      name: "set_timer",
      description: "Set a timer that rings once.",
      parameters: {
        type: "object",
        properties: { label: { type: "string" }, minutes: { type: "integer", minimum: 1, maximum: 180 } },
        required: ["label", "minutes"],
        additionalProperties: false,
      },
    },
  },
];

/** Let the buttons beside the tools work, and say at once what is wrong with them. */
export function watchOptions() {
  byId("tools-example").addEventListener("click", () => setTools(JSON.stringify(EXAMPLE, null, 2)));
  byId("tools-clear").addEventListener("click", () => setTools(""));
  byId("tools").addEventListener("input", () => checkTools());
  byId("options-form").addEventListener("submit", (event) => event.preventDefault());
}

/** Return what stands before the conversation. */
export function instructions() {
  const content = byId("instructions").value.trim();
  return content ? [{ role: "system", content }] : [];
}

/**
 * Return the fields, or null if they cannot be sent; then the person is told why.
 */
export function requestFields() {
  const tools = checkTools();
  if (tools === null || !byId("options-form").reportValidity()) {
    byId("options").open = true;
    return null;
  }
  const thinks = byId("thinking").checked;
  return {
    enable_thinking: thinks,
    ...(thinks ? numeric("budget", "thinking_budget") : {}),
    ...numeric("temperature", "temperature"),
    ...numeric("max-tokens", "max_tokens"),
    ...(tools.length ? { tools, tool_choice: byId("tool-choice").value } : {}),
  };
}

function numeric(id, field) {
  const { value } = byId(id);
  return value === "" ? {} : { [field]: Number(value) };
}

function setTools(text) {
  byId("tools").value = text;
  checkTools();
}

/** Return the tools, or null if they are no JSON. */
function checkTools() {
  const field = byId("tools");
  const { tools, problem } = parseTools(field.value);
  field.setAttribute("aria-invalid", String(problem !== ""));
  byId("tools-error").hidden = problem === "";
  byId("tools-error").textContent = problem;
  return problem ? null : tools;
}

/** Read one definition or a list of them, with or without the `{"type": "function"}` around each. */
function parseTools(text) {
  if (!text.trim()) return { tools: [], problem: "" };
  try {
    const found = [JSON.parse(text)].flat();
    const tools = found.map((each) => (each.function || !each.name ? each : { type: "function", function: each }));
    return { tools, problem: "" };
  } catch (error) {
    return { tools: [], problem: error.message };
  }
}
