// What the client programs share: the questions, and how a program reports.

export const URL = process.argv[2] ?? "http://127.0.0.1:8000";
export const MODEL = "tiny_chat";
export const QUESTION = "What is the capital of France?";
export const WEATHER_QUESTION = "What is the weather in Paris?";
export const SCHEMA_QUESTION = "Give me France as JSON.";
export const WEATHER = '{"temperature": 21, "condition": "sunny"}';

export function expect(text, part) {
  const whole = typeof text === "string" ? text : JSON.stringify(text);
  if (!whole.includes(part)) throw new Error(`no ${part} in ${whole}`);
}

// Runs the checks; prints a JSON object of each one's name and "works", or its error.
export async function report(checks) {
  const results = {};
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
      results[name] = "works";
    } catch (error) {
      console.error(error);
      results[name] = `${error.name}: ${error.message}`.slice(0, 500);
    }
  }
  console.log(JSON.stringify(results));
}
