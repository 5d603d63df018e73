// The log: one JSON object a line on standard output.

import { NAME } from "./name.js";

/** Something to know. */
export const info = (message, fields) => line("info", message, fields);

/** Something that should not happen often. */
export const warn = (message, fields) => line("warn", message, fields);

/** Something that somebody should look at. */
export const error = (message, fields) => line("error", message, fields);

function line(level, message, fields = {}) {
  const entry = { ts: new Date().toISOString(), level, service: NAME, msg: message, ...fields };
  process.stdout.write(`${JSON.stringify(entry)}\n`);
}
