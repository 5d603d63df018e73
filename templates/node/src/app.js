// What it answers, and what is noted of each request: its trace, its metrics and a line in the log.

import { createServer } from "node:http";

import * as log from "./log.js";
import { Metrics } from "./metrics.js";
import { NAME } from "./name.js";
import { Trace } from "./trace.js";

/** Paths that are asked every second: they are counted, not logged. */
const PROBES = new Set(["/health", "/ready", "/metrics"]);

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

/** Slow senders are not waited for longer than this. */
const REQUEST_MAX_MS = 30_000;

/** The server, not listening yet, and how to end it. */
export function createApp(flags) {
  const metrics = new Metrics();
  let draining = false;

  const routes = new Map([
    ["/health", () => text(200, "ok\n")],
    ["/ready", () => (draining ? text(503, "draining\n") : text(200, "ready\n"))],
    ["/metrics", () => text(200, metrics.text(), Metrics.CONTENT_TYPE)],
    ["/{{name}}/hello", (request, trace) => json(200, hello(request, trace, flags))],
  ]);

  const answer = (request, trace, route) => {
    if (route === undefined) return json(404, { title: "there is no such path", status: 404 });
    if (request.method !== "GET" && request.method !== "HEAD") {
      return json(405, { title: "only GET and HEAD", status: 405 }, { allow: "GET, HEAD" });
    }
    return routes.get(route)(request, trace);
  };

  const server = createServer({ requestTimeout: REQUEST_MAX_MS }, (request, response) => {
    const began = performance.now();
    const trace = Trace.of(request.headers.traceparent);
    const path = request.url.split("?", 1)[0];
    const route = routes.has(path) ? path : undefined;
    // Methods and paths that clients invent would each be a time series of its own.
    const method = METHODS.has(request.method) ? request.method : "other";
    metrics.begin();
    response.once("close", () => metrics.end());

    let { status, headers, body } = text(500, "");
    try {
      ({ status, headers, body } = answer(request, trace, route));
    } catch (error) {
      log.error("a request failed", { error: error.stack, trace_id: trace.id });
    }
    request.resume();
    // A connection that is kept would outlive the drain.
    if (draining) headers = { ...headers, connection: "close" };
    response.writeHead(status, { ...headers, traceresponse: trace.header() });
    response.end(method === "HEAD" ? undefined : body);

    const tookMs = performance.now() - began;
    metrics.observe(route ?? "other", method, status, tookMs / 1000);
    if (!PROBES.has(route)) {
      log.info("answered", {
        method,
        route: route ?? "other",
        status,
        took_ms: Number(tookMs.toFixed(3)),
        tenant: request.headers["x-rc-tenant"] ?? null,
        trace_id: trace.id,
        span_id: trace.spanId,
      });
    }
  });

  /** Takes no new connections, closes idle ones, and calls `done` when the last request is answered. */
  const drain = (done) => {
    draining = true;
    server.close(done);
    server.closeIdleConnections();
  };
  return { server, drain };
}

/** Whose request it is, how long it may take, and which trace it belongs to. */
function hello(request, trace, flags) {
  const greeting = flags.on("warm_greeting") ? "a warm hello" : "hello";
  const deadline = request.headers["x-rc-deadline-ms"];
  return {
    message: `${greeting} from ${NAME}`,
    tenant: request.headers["x-rc-tenant"] ?? null,
    deadline_ms: /^\d{1,12}$/.test(deadline) ? Number(deadline) : null,
    trace_id: trace.id,
  };
}

function text(status, body, type = "text/plain; charset=utf-8") {
  return { status, headers: { "content-type": type, "content-length": Buffer.byteLength(body) }, body };
}

function json(status, value, headers = {}) {
  const answer = text(status, JSON.stringify(value), "application/json");
  return { ...answer, headers: { ...answer.headers, ...headers } };
}
