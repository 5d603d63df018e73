// Feature flags: a JSON file of names and booleans, and FLAG_NAME=true in the environment, which wins.
//
// They are read at the start. A flag that is nowhere is off, a file that cannot be understood is an error: a
// service must not come up with half of its flags.

import { readFileSync } from "node:fs";

const PREFIX = "FLAG_";

/** Reads $FLAGS_FILE (else flags.json, which may be absent) and the environment. */
export function readFlags(env = process.env) {
  const path = env.FLAGS_FILE ?? "flags.json";
  let file;
  try {
    file = readFileSync(path, "utf8");
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  }
  try {
    return flagsOf(file, env);
  } catch (error) {
    throw new Error(`flags (${path}): ${error.message}`);
  }
}

/** The flags of a file's text and of variables. */
export function flagsOf(file, variables = {}) {
  const known = new Map();
  for (const [name, value] of Object.entries(file === undefined ? {} : JSON.parse(file))) {
    if (typeof value !== "boolean") throw new Error(`${name} is neither true nor false`);
    known.set(name, value);
  }
  for (const [name, value] of Object.entries(variables)) {
    if (!name.startsWith(PREFIX)) continue;
    if (value !== "true" && value !== "false") throw new Error(`${name} is ${JSON.stringify(value)}; write true or false`);
    known.set(name.slice(PREFIX.length).toLowerCase(), value === "true");
  }
  return { on: (name) => known.get(name) ?? false };
}
