// Starts, serves, and ends without dropping a request.
//
// It listens on $HOST:$PORT, or takes over the socket that it was handed. On SIGTERM it stops accepting, /ready
// answers 503, and requests under way get DRAIN_SECONDS to finish.

import { createApp } from "./app.js";
import { readFlags } from "./flags.js";
import * as log from "./log.js";

/** The first descriptor that a supervisor hands over. */
const FIRST_HANDED_OVER = 3;

/** The whole number in the variable `name`, or `otherwise` when it is not set. */
function setting(name, otherwise) {
  const text = process.env[name];
  if (text === undefined) return otherwise;
  if (!/^\d{1,9}$/.test(text)) throw new Error(`${name} is ${JSON.stringify(text)}, which is not a number`);
  return Number(text);
}

/**
 * Where to listen. Whoever starts this process may hand over a listening socket, as systemd does: a new version
 * takes it while the old one still serves from it, and no connection is refused in between.
 */
function place() {
  const { LISTEN_FDS, LISTEN_PID, HOST } = process.env;
  const forUs = LISTEN_PID === undefined || LISTEN_PID === String(process.pid);
  if (Number(LISTEN_FDS) >= 1 && forUs) return { fd: FIRST_HANDED_OVER };
  return { host: HOST ?? "127.0.0.1", port: setting("PORT", 8080) };
}

function main() {
  const drainMs = setting("DRAIN_SECONDS", 8) * 1000;
  const { server, drain } = createApp(readFlags());
  server.on("error", (error) => {
    log.error("it cannot serve", { error: error.message });
    process.exitCode = 1;
  });
  server.listen(place(), () => {
    const { address, port } = server.address();
    log.info("it listens", { address: `${address}:${port}` });
  });
  const end = () => {
    log.info("it finishes what is under way");
    drain(() => log.info("it ends"));
    setTimeout(() => {
      log.warn("requests were still under way when the drain was over");
      process.exit();
    }, drainMs).unref();
  };
  for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, end);
}

try {
  main();
} catch (error) {
  log.error("it cannot serve", { error: error.message });
  process.exitCode = 1;
}
