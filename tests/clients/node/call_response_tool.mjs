// One function call through the Responses API, without anything stored: what came is sent back with the result.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 }); // OPENAI_BASE_URL and OPENAI_API_KEY say where, and who
const { QUESTION, RESULT } = process.env;
const request = {
  model: "any",
  store: false,
  include: ["reasoning.encrypted_content"],
  tools: [{ type: "function", strict: false, ...JSON.parse(process.env.TOOL).function }],
};
const question = { role: "user", content: QUESTION };

const first = await client.responses.create({ ...request, input: [question] });
const calls = first.output.filter((item) => item.type === "function_call");
const results = calls.map((call) => ({ type: "function_call_output", call_id: call.call_id, output: RESULT }));
const second = await client.responses.create({ ...request, input: [question, ...first.output, ...results] });

console.log(JSON.stringify({ answer: second.output_text, calls: calls.map((call) => JSON.parse(call.arguments)) }));
