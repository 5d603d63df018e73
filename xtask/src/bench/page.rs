//! The page of figures.

use std::fmt::Write as _;

use super::{Figure, Results};

pub(super) fn render(all: &[Results]) -> String {
    let mut page = String::from(
        "# Benchmarks\n\nWritten by `cargo xtask bench` from the files in `bench/results`, which hold every value. \
         Median, lowest and highest of all rounds of one run on one machine; a single benchmark is never enough, \
         so run them on yours.\n",
    );
    for results in all {
        let Results {
            subject,
            method,
            command,
            commit,
            machine,
            figures,
        } = results;
        write!(
            page,
            "\n## {title}\n\n{method}\n\n\
             Measured at commit `{commit}` on {cores} cores ({processor}), {memory} GiB of memory, Linux {kernel}. \
             To measure again: `{command}`.\n\n\
             | what | median | lowest | highest | target | |\n|---|---:|---:|---:|---:|---|\n",
            title = title(subject),
            cores = machine.cores,
            processor = machine.processor,
            memory = machine.memory_gib,
            kernel = machine.kernel,
        )
        .expect("writing to a string cannot fail");
        for figure in figures {
            page.push_str(&row(figure));
        }
    }
    page
}

fn row(figure: &Figure) -> String {
    let Figure {
        name,
        unit,
        at_most,
        median,
        values,
    } = figure;
    let show = |value: f64| format!("{value:.*} {}", digits(value), unit.symbol());
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (target, verdict) = match at_most {
        None => (String::new(), ""),
        Some(most) if median <= most => (format!("≤ {}", show(*most)), "met"),
        Some(most) => (format!("≤ {}", show(*most)), "**missed**"),
    };
    format!(
        "| {name} | {} | {} | {} | {target} | {verdict} |\n",
        show(*median),
        show(lowest),
        show(highest)
    )
}

/// Digits after the point that still say something.
fn digits(value: f64) -> usize {
    match value {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    }
}

fn title(subject: &str) -> String {
    let mut chars = subject.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
