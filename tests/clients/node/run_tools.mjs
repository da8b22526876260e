// The official SDK's own loop: it asks, runs the tool that is called, sends the result, and returns the answer.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 }); // OPENAI_BASE_URL and OPENAI_API_KEY say where, and who
const { QUESTION, RESULT } = process.env;
const declared = JSON.parse(process.env.TOOL).function;
const calls = [];

const runner = client.chat.completions.runTools({
  model: "any",
  stream: true,
  messages: [{ role: "user", content: QUESTION }],
  tools: [
    {
      type: "function",
      function: {
        ...declared,
        parse: JSON.parse,
        function: (args) => {
          calls.push(args);
          return RESULT;
        },
      },
    },
  ],
});

console.log(JSON.stringify({ answer: await runner.finalContent(), calls }));
