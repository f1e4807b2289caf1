// OpenAI's client for JavaScript: chat completions and their helpers.

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import {
  MODEL,
  QUESTION,
  SCHEMA_QUESTION,
  URL,
  WEATHER,
  WEATHER_QUESTION,
  expect,
  report,
} from "./report.mjs";

const client = new OpenAI({ baseURL: `${URL}/v3`, apiKey: "unused", maxRetries: 0 });
const hints = { model: MODEL, temperature: 0, store: true, metadata: { job: "1" }, verbosity: "low" };
const user = (content) => [{ role: "user", content }];

await report({
  async chat() {
    const messages = [{ role: "developer", content: "Be brief." }, ...user(QUESTION)];
    const answer = await client.chat.completions.create({ ...hints, messages });
    expect(answer.choices[0].message.content, "Paris");
  },
  async stream() {
    const stream = client.chat.completions.stream({ ...hints, messages: user(QUESTION) });
    expect(await stream.finalContent(), "Paris");
  },
  async tools() {
    const runner = client.chat.completions.runTools({
      ...hints,
      messages: user(WEATHER_QUESTION),
      tools: [
        {
          type: "function",
          function: {
            name: "get_weather",
            description: "The weather in a city",
            parse: JSON.parse,
            function: ({ city }) => {
              expect(city, "Paris");
              return WEATHER;
            },
            parameters: {
              type: "object",
              properties: { city: { type: "string" } },
              required: ["city"],
            },
          },
        },
      ],
    });
    expect(await runner.finalContent(), "21");
  },
  async schema() {
    const Country = z.object({ country: z.string(), capital: z.string() });
    const answer = await client.chat.completions.parse({
      ...hints,
      messages: user(SCHEMA_QUESTION),
      response_format: zodResponseFormat(Country, "country"),
    });
    expect(answer.choices[0].message.parsed.capital, "Paris");
  },
});
