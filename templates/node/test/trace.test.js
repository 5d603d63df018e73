import assert from "node:assert/strict";
import { test } from "node:test";

import { Trace } from "../src/trace.js";

const PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ID = "4bf92f3577b34da6a3ce929d0e0e4736";

test("a valid parent is followed", () => {
  assert.equal(Trace.of(PARENT).id, ID);
  assert.equal(Trace.of(PARENT.replace("00-", "01-") + "-later").id, ID, "a later version");
});

test("anything else begins a new trace", () => {
  const bad = [
    undefined,
    "",
    "00",
    PARENT.toUpperCase(),
    PARENT.replace("00-", "ff-"),
    PARENT.replace(ID, "0".repeat(32)),
    `${PARENT}-more`,
    PARENT.slice(0, -1),
  ];
  for (const parent of bad) {
    const trace = Trace.of(parent);
    assert.notEqual(trace.id, ID, parent);
    assert.equal(trace.header().length, 55);
  }
});
