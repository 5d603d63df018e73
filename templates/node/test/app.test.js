import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, get } from "node:http";
import { test } from "node:test";

import { createApp } from "../src/app.js";
import { flagsOf } from "../src/flags.js";
import { NAME } from "../src/name.js";

const PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const HELLO = `/${NAME}/hello`;

/** Starts the service, runs `body` with a function that asks it, and stops it. */
async function withApp(flags, body) {
  const app = createApp(flagsOf(flags));
  app.server.listen(0, "127.0.0.1");
  await once(app.server, "listening");
  const { port } = app.server.address();
  const agent = new Agent({ keepAlive: true });
  const ask = async (path, headers = {}) => {
    const request = get({ port, path, headers, agent, host: "127.0.0.1" });
    const [response] = await once(request, "response");
    const chunks = await response.toArray();
    return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() };
  };
  try {
    await body(ask, app);
  } finally {
    agent.destroy();
    if (app.server.listening) app.server.close();
  }
}

test("hello says whose request it is and how long it may take", () =>
  withApp("{}", async (ask) => {
    const headers = { "x-rc-tenant": "acme", "x-rc-deadline-ms": "250", traceparent: PARENT };
    const answer = await ask(HELLO, headers);
    assert.equal(answer.status, 200);
    assert.deepEqual(JSON.parse(answer.body), {
      message: `hello from ${NAME}`,
      tenant: "acme",
      deadline_ms: 250,
      trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
    });
    assert.match(answer.headers.traceresponse, /^00-4bf92f3577b34da6a3ce929d0e0e4736-/);
    assert.doesNotMatch(answer.headers.traceresponse, /00f067aa0ba902b7/, "the span is our own");
  }));

test("without a gateway there is no tenant", () =>
  withApp("{}", async (ask) => {
    const answer = JSON.parse((await ask(HELLO, { "x-rc-deadline-ms": "soon" })).body);
    assert.equal(answer.tenant, null);
    assert.equal(answer.deadline_ms, null);
    assert.match(answer.trace_id, /^[0-9a-f]{32}$/);
  }));

test("a flag changes the greeting", () =>
  withApp('{"warm_greeting": true}', async (ask) => {
    assert.match((await ask(HELLO)).body, /a warm hello/);
  }));

test("flags that cannot be understood are an error, and the environment wins", () => {
  assert.throws(() => flagsOf("{"));
  assert.throws(() => flagsOf('{"warm_greeting": "yes"}'));
  assert.throws(() => flagsOf(undefined, { FLAG_WARM_GREETING: "yes" }));
  assert.equal(flagsOf('{"warm_greeting": false}', { FLAG_WARM_GREETING: "true" }).on("warm_greeting"), true);
  assert.equal(flagsOf(undefined).on("warm_greeting"), false);
});

test("what is under way is answered while it drains, and then it ends", () =>
  withApp("{}", async (ask, app) => {
    assert.equal((await ask("/ready")).status, 200);
    // The first request is accepted before the drain begins, and answered after it.
    let ended;
    app.server.prependOnceListener("request", () => {
      ended = new Promise((resolve) => app.drain(resolve));
    });
    const answer = await ask("/ready");
    assert.equal(answer.status, 503);
    assert.equal(answer.headers.connection, "close");
    await ended;
  }));

test("metrics count by route and never by path", () =>
  withApp("{}", async (ask) => {
    await ask(HELLO);
    assert.equal((await ask("/somewhere/else")).status, 404);
    const { body } = await ask("/metrics");
    for (const part of [
      `http_requests_total{route="${HELLO}",method="GET",status="200"} 1`,
      'http_requests_total{route="other",method="GET",status="404"} 1',
      "http_request_duration_seconds_bucket",
      "http_requests_in_flight 1",
      "process_resident_memory_bytes",
      "process_cpu_seconds_total",
    ]) {
      assert.ok(body.includes(part), `${part} is missing in ${body}`);
    }
    assert.ok(!body.includes("somewhere"));
  }));
