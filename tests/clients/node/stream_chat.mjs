import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 }); // OPENAI_BASE_URL and OPENAI_API_KEY say where, and who
const parts = [];
let usage = null;

const stream = await client.chat.completions.create({
  model: "any",
  messages: [
    { role: "system", content: "You are a helpful assistant." },
    { role: "user", content: "What is the capital of France?" },
  ],
  temperature: 0,
  max_tokens: 24,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  parts.push(chunk.choices[0]?.delta.content ?? "");
  usage = chunk.usage ?? usage;
}

console.log(JSON.stringify({ parts, usage }));
