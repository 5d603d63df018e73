// What is counted: rate, errors and duration by route, and the process itself.

const BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/** All that is counted. */
export class Metrics {
  static CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

  #answered = new Map();
  #durations = new Map();
  #inFlight = 0;

  /** A request begins. */
  begin() {
    this.#inFlight += 1;
  }

  /** A request has ended, whether it was answered or its client left. */
  end() {
    this.#inFlight -= 1;
  }

  /** A request was answered. */
  observe(route, method, status, seconds) {
    const labels = `route="${route}",method="${method}",status="${status}"`;
    this.#answered.set(labels, (this.#answered.get(labels) ?? 0) + 1);
    let duration = this.#durations.get(route);
    if (duration === undefined) {
      duration = { buckets: BUCKETS_SECONDS.map(() => 0), count: 0, sum: 0 };
      this.#durations.set(route, duration);
    }
    BUCKETS_SECONDS.forEach((bound, at) => {
      if (seconds <= bound) duration.buckets[at] += 1;
    });
    duration.count += 1;
    duration.sum += seconds;
  }

  /** All of it in Prometheus' text format. */
  text() {
    const lines = [];
    const family = (name, type, help, samples) =>
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples);
    const answered = [...this.#answered].map(([labels, count]) => `http_requests_total{${labels}} ${count}`);
    family("http_requests_total", "counter", "Requests answered", answered);
    const durations = [...this.#durations].flatMap(([route, { buckets, count, sum }]) => [
      ...BUCKETS_SECONDS.map(
        (bound, at) => `http_request_duration_seconds_bucket{route="${route}",le="${bound}"} ${buckets[at]}`,
      ),
      `http_request_duration_seconds_bucket{route="${route}",le="+Inf"} ${count}`,
      `http_request_duration_seconds_sum{route="${route}"} ${sum}`,
      `http_request_duration_seconds_count{route="${route}"} ${count}`,
    ]);
    family("http_request_duration_seconds", "histogram", "From the request to its answer", durations);
    const one = (name, type, help, value) => family(name, type, help, [`${name} ${value}`]);
    one("http_requests_in_flight", "gauge", "Requests under way", this.#inFlight);
    const { user, system } = process.cpuUsage();
    one("process_resident_memory_bytes", "gauge", "Resident memory", process.memoryUsage.rss());
    one("process_cpu_seconds_total", "counter", "CPU time used", (user + system) / 1e6);
    return `${lines.join("\n")}\n`;
  }
}
