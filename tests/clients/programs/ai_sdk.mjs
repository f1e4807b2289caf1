// Vercel's AI SDK with one of its providers, as the name of the second argument says.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, generateText, stepCountIs, streamText, tool } from "ai";
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

const key = { apiKey: "unused" };
const models = {
  compatible: () =>
    createOpenAICompatible({
      name: "here",
      baseURL: `${URL}/v3`,
      ...key,
      includeUsage: true,
      supportsStructuredOutputs: true,
    })(MODEL),
  chat: () => createOpenAI({ baseURL: `${URL}/v3`, ...key }).chat(MODEL),
  responses: () => createOpenAI({ baseURL: `${URL}/v3`, ...key }).responses(MODEL),
  anthropic: () => createAnthropic({ baseURL: `${URL}/v3`, ...key })(MODEL),
};
const settings = { model: models[process.argv[3]](), temperature: 0, maxRetries: 0 };

await report({
  async chat() {
    const answer = await generateText({ ...settings, system: "Be brief.", prompt: QUESTION });
    expect(answer.text, "Paris");
  },
  async stream() {
    let text = "";
    for await (const part of streamText({ ...settings, prompt: QUESTION }).textStream) text += part;
    expect(text, "Paris");
  },
  async tools() {
    const answer = await generateText({
      ...settings,
      prompt: WEATHER_QUESTION,
      stopWhen: stepCountIs(3),
      tools: {
        get_weather: tool({
          description: "The weather in a city",
          inputSchema: z.object({ city: z.string() }),
          execute: async () => JSON.parse(WEATHER),
        }),
      },
    });
    expect(answer.text, "21");
  },
  async schema() {
    const answer = await generateText({
      ...settings,
      prompt: SCHEMA_QUESTION,
      output: Output.object({ schema: z.object({ country: z.string(), capital: z.string() }) }),
    });
    expect(answer.output.capital, "Paris");
  },
});
