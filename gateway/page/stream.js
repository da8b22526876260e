// A chat completion, streamed.

import { authorization } from "./key.js";

/** A refusal or a failure, with what the gateway said of it. */
export class ChatError extends Error {
  /**
   * @param {string} message For the person.
   * @param {{status?: number, code?: string, param?: string, retryAfter?: string}} details What else was said.
   */
  constructor(message, details = {}) {
    super(message);
    this.details = details;
  }
}

/**
 * Send a request and yield what comes: `{chunk}` for each piece of the answer, `{calls}` for what became of its tool calls.
 * @throws {ChatError} It was refused, or broke off.
 */
export async function* chat(body, signal) {
  const response = await post(body, signal);
  if (!response.ok) throw await refusal(response);
  let isComplete = false;
  for await (const line of lines(response.body)) {
    if (line === "data: [DONE]") isComplete = true;
    else if (line.startsWith("data: ")) yield { chunk: piece(JSON.parse(line.slice(6))) };
    else if (line.startsWith(": x-warmgate-tool-calls: ")) yield { calls: line.slice(25) };
  }
  if (!isComplete) throw new ChatError("The answer broke off.");
}

async function post(body, signal) {
  const headers = { "content-type": "application/json", ...authorization() };
  const question = { ...body, stream: true, stream_options: { include_usage: true } };
  try {
    return await fetch("v1/chat/completions", { method: "POST", headers, body: JSON.stringify(question), signal });
  } catch (error) {
    throw signal.aborted ? error : new ChatError("The gateway cannot be reached.");
  }
}

/** Take a piece as it is, unless it is an error that came in the middle of the answer. */
function piece(chunk) {
  if (chunk.error) throw new ChatError(chunk.error.message, chunk.error);
  return chunk;
}

async function refusal(response) {
  const details = { status: response.status, retryAfter: response.headers.get("retry-after") ?? undefined };
  try {
    const { error } = await response.json();
    return new ChatError(error.message, { ...details, ...error });
  } catch {
    return new ChatError(`The gateway answered with status ${response.status}.`, details);
  }
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (true) {
    const { value, done } = await reader.read();
    if (done) return;
    const found = (rest + value).split("\n");
    rest = found.pop();
    yield* found;
  }
}
