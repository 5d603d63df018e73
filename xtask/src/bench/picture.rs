//! The picture of isolation: how long victims wait at each proxy while a neighbour is noisy, beside idle.
//!
//! One panel a scenario, one line a proxy, from the median to the 99.9th percentile, with a dot at the 99th. It
//! has colours for light and for dark surroundings and a ground of its own.

use std::fmt::Write as _;

use super::{Figure, Results};

/// Everything is measured in these; the picture scales with its frame.
const WIDTH: f64 = 760.0;
const LEFT: f64 = 214.0;
const RIGHT: f64 = 84.0;
const LINE: f64 = 22.0;
const PANEL_HEAD: f64 = 40.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 50.0;

/// How groups begin that are nobody's scenario.
const IDLE: &str = "idle";

/// The proxy whose lines stand out.
const OURS: &str = "gateway";

const STYLE: &str = "
  .ground { fill: #ffffff; } text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; } .panel { font-weight: 600; } .small { font-size: 11px; fill: #59636e; }
  .grid { stroke: #d1d9e0; stroke-width: 1; } .idle { stroke: #8c959f; fill: #8c959f; }
  .ours { stroke: #0969da; fill: #0969da; } .peer { stroke: #bc4c00; fill: #bc4c00; }
  .span { stroke-width: 6; stroke-linecap: round; stroke-opacity: .45; } .dot { stroke: none; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; } text { fill: #f0f6fc; } .small { fill: #9198a1; } .grid { stroke: #3d444d; }
    .idle { stroke: #9198a1; fill: #9198a1; } .ours { stroke: #58a6ff; fill: #58a6ff; }
    .peer { stroke: #f0883e; fill: #f0883e; }
  }
";

/// One scenario.
struct Panel<'a> {
    title: &'a str,
    lines: Vec<Line<'a>>,
}

/// The latency of the victims at one proxy, in milliseconds.
struct Line<'a> {
    name: String,
    class: &'a str,
    p50: f64,
    p99: f64,
    p999: f64,
}

/// The picture; `None` from results without isolation.
pub(super) fn render(results: &Results) -> Option<String> {
    let panels = panels(&results.figures);
    if panels.is_empty() {
        return None;
    }
    let lines = || panels.iter().flat_map(|panel| &panel.lines);
    // Whole powers of ten around everything.
    let low = lines()
        .map(|line| line.p50)
        .fold(f64::INFINITY, f64::min)
        .log10()
        .floor();
    let high = lines()
        .map(|line| line.p999)
        .fold(0.0, f64::max)
        .log10()
        .ceil()
        .max(low + 1.0);
    let x = |ms: f64| LEFT + (ms.log10() - low) / (high - low) * (WIDTH - LEFT - RIGHT);
    let panels_height: f64 = panels
        .iter()
        .map(|panel| PANEL_HEAD + panel.lines.len() as f64 * LINE)
        .sum();
    let height = TOP + panels_height + BOTTOM;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Latency of victims beside a noisy tenant\">\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n\
         <text class=\"title\" x=\"20\" y=\"28\">What tenants wait while another one is noisy</text>\n\
         <text class=\"small\" x=\"20\" y=\"46\">Line: median to 99.9th percentile. Dot and number: 99th. \
         Each victim is inside its quota.</text>\n"
    );
    let mut push = |element: std::fmt::Arguments<'_>| {
        writeln!(svg, "{element}").expect("writing to a string cannot fail");
    };
    let powers: Vec<f64> = (low as i32..=high as i32)
        .map(|power| 10_f64.powi(power))
        .collect();
    for ms in &powers {
        push(format_args!(
            "<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{ms} ms</text>",
            x(*ms),
            height - BOTTOM + 20.0
        ));
    }
    let mut y = TOP;
    for Panel { title, lines } in &panels {
        let title = escaped(title);
        push(format_args!(
            "<text class=\"panel\" x=\"20\" y=\"{:.1}\">{title}</text>",
            y + 26.0
        ));
        y += PANEL_HEAD;
        let end = y + lines.len() as f64 * LINE;
        for at in powers.iter().map(|ms| x(*ms)) {
            push(format_args!(
                "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{y:.1}\" x2=\"{at:.1}\" y2=\"{end:.1}\"/>"
            ));
        }
        for line in lines {
            let Line { class, p99, .. } = line;
            let (from, dot, to, middle) = (x(line.p50), x(*p99), x(line.p999), y + LINE / 2.0);
            let (name, baseline) = (escaped(&line.name), middle + 4.0);
            push(format_args!("<text x=\"32\" y=\"{baseline:.1}\">{name}</text>"));
            push(format_args!(
                "<line class=\"span {class}\" x1=\"{from:.1}\" y1=\"{middle:.1}\" x2=\"{to:.1}\" y2=\"{middle:.1}\"/>"
            ));
            push(format_args!(
                "<circle class=\"dot {class}\" cx=\"{dot:.1}\" cy=\"{middle:.1}\" r=\"5\"/>"
            ));
            push(format_args!(
                "<text x=\"{:.1}\" y=\"{baseline:.1}\">{}</text>",
                to + 12.0,
                milliseconds(*p99)
            ));
            y += LINE;
        }
    }
    push(format_args!(
        "<text class=\"small\" x=\"20\" y=\"{:.1}\">Medians of all rounds at commit {}, {} cores.</text>",
        height - 12.0,
        escaped(&results.commit),
        results.machine.cores
    ));
    svg.push_str("</svg>\n");
    Some(svg)
}

/// Every scenario that has victims, in the order of the results; its first line is the gateway's idle one.
fn panels(figures: &[Figure]) -> Vec<Panel<'_>> {
    let mut groups: Vec<&str> = figures.iter().map(|figure| figure.group.as_str()).collect();
    groups.dedup();
    let mut panels = Vec::new();
    let mut idle = None;
    for group in groups {
        let of_group = || figures.iter().filter(move |figure| figure.group == group);
        let proxies = of_group().filter_map(|figure| figure.name.strip_prefix("victims, p99, "));
        let mut lines: Vec<Line<'_>> = Vec::new();
        for proxy in proxies {
            let quantile = |label: &str| {
                let name = format!("victims, {label}, {proxy}");
                of_group()
                    .find(|figure| figure.name == name)
                    .map(|figure| figure.median)
            };
            if let (Some(p50), Some(p99), Some(p999)) = (quantile("p50"), quantile("p99"), quantile("p99.9"))
            {
                lines.push(Line {
                    name: proxy.replace('`', ""),
                    class: if proxy == OURS { "ours" } else { "peer" },
                    p50,
                    p99,
                    p999,
                });
            }
        }
        if group.starts_with(IDLE) {
            idle = lines.into_iter().find(|line| line.name == OURS);
            continue;
        }
        if lines.is_empty() {
            continue;
        }
        if let Some(Line { p50, p99, p999, .. }) = idle {
            let name = "idle".to_owned();
            let class = "idle";
            lines.insert(
                0,
                Line {
                    name,
                    class,
                    p50,
                    p99,
                    p999,
                },
            );
        }
        panels.push(Panel { title: group, lines });
    }
    panels
}

fn milliseconds(value: f64) -> String {
    let digits = match value {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$} ms")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
