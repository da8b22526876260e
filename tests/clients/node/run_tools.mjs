// The official SDK's own loop: it asks, runs the tool that is called, sends the result, and returns the answer.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 }); // OPENAI_BASE_URL and OPENAI_API_KEY say where, and who
const calls = [];

const runner = client.chat.completions.runTools({
  model: "any",
  stream: true,
  messages: [{ role: "user", content: "What is the weather in Paris?" }],
  tools: [
    {
      type: "function",
      function: {
        name: "get_weather",
        description: "Tell the weather in a city.",
        parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
        parse: JSON.parse,
        function: (args) => {
          calls.push(args);
          return "18 degrees and dry";
        },
      },
    },
  ],
});

console.log(JSON.stringify({ answer: await runner.finalContent(), calls }));
