import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 }); // OPENAI_BASE_URL and OPENAI_API_KEY say where, and who
const deltas = [];

const stream = client.responses
  .stream({
    model: "any",
    instructions: "You are a helpful assistant.",
    input: "What is the capital of France?",
    temperature: 0,
    max_output_tokens: 24,
  })
  .on("response.output_text.delta", (event) => deltas.push(event.delta));
const { status, output_text, usage } = await stream.finalResponse();

console.log(JSON.stringify({ deltas, status, output_text, usage }));
