// W3C Trace Context: a request belongs to its caller's trace, or begins one.

import { randomBytes } from "node:crypto";

const PARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** This service's place in a trace. */
export class Trace {
  constructor(id, flags) {
    this.id = id;
    this.spanId = randomId(8);
    this.flags = flags;
  }

  /** A span of our own in the trace of the header `traceparent`, or in a new one. */
  static of(parent) {
    const [, version, id, span, flags, more] = PARENT.exec(parent ?? "") ?? [];
    const valid = id !== undefined && version !== "ff" && !(version === "00" && more !== undefined);
    if (valid && !/^0+$/.test(id) && !/^0+$/.test(span)) return new Trace(id, flags);
    return new Trace(randomId(16), "01");
  }

  /** The header `traceparent` for calls that are made on the request's behalf. */
  header() {
    return `00-${this.id}-${this.spanId}-${this.flags}`;
  }
}

/** Random and not zero. */
function randomId(bytes) {
  const id = randomBytes(bytes);
  id[0] ||= 1;
  return id.toString("hex");
}
