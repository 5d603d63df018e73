//! The page of figures.

use std::fmt::Write as _;

use super::{Figure, Results, Unit, picture};

pub(super) fn render(all: &[Results]) -> String {
    let mut page = String::from(
        "# Benchmarks\n\nWritten by `cargo xtask bench` from the files in `bench/results`, which hold every value. \
         Median, lowest and highest of all rounds of one run on one machine; a single benchmark is never enough, \
         so run them on yours. Documents and queries are described in [bench/documents.md](../bench/documents.md).\n",
    );
    page.push_str(&targets(all));
    for results in all {
        let Results {
            subject,
            method,
            command,
            commit,
            machine,
            figures,
            summary: _,
        } = results;
        write!(
            page,
            "\n## {title}\n\n{method}\n\n\
             Measured at commit `{commit}` on {cores} cores ({processor}), {memory} GiB of memory, Linux {kernel}. \
             To measure again: `{command}`.\n",
            title = title(subject.name()),
            cores = machine.cores,
            processor = machine.processor,
            memory = machine.memory_gib,
            kernel = machine.kernel,
        )
        .expect("writing to a string cannot fail");
        if picture::render(results).is_some() {
            page.push_str("\n![What tenants wait while another one is noisy](isolation.svg)\n");
        }
        let mut group = None;
        for figure in figures.iter().filter(|figure| !figure.aside) {
            if group != Some(&figure.group) {
                group = Some(&figure.group);
                if !figure.group.is_empty() {
                    write!(page, "\n### {}\n", title(&figure.group))
                        .expect("writing to a string cannot fail");
                }
                page.push_str(
                    "\n| what | median | lowest | highest | target | |\n|---|---:|---:|---:|---:|---|\n",
                );
            }
            page.push_str(&row(figure));
        }
    }
    page
}

/// All figures that must be below or above something, in one table.
fn targets(all: &[Results]) -> String {
    let mut table =
        String::from("\n## Targets\n\n| subject | what | measured | target | |\n|---|---|---:|---:|---|\n");
    for results in all {
        for figure in &results.figures {
            let Some(verdict) = verdict(figure) else { continue };
            let place = match figure.group.as_str() {
                "" => String::new(),
                group => format!(", {group}"),
            };
            let judged = match (figure.worst, figure.at_most) {
                (false, _) => figure.median,
                (true, Some(_)) => figure.highest(),
                (true, None) => figure.lowest(),
            };
            writeln!(
                table,
                "| {} | {}{place} | {} | {} | {verdict} |",
                results.subject.name(),
                figure.name,
                show(judged, figure.unit),
                target(figure),
            )
            .expect("writing to a string cannot fail");
        }
    }
    table
}

fn row(figure: &Figure) -> String {
    let unit = figure.unit;
    if !figure.is_supported() {
        return format!("| {} | not supported by this build |  |  |  |  |\n", figure.name);
    }
    format!(
        "| {} | {} | {} | {} | {} | {} |\n",
        figure.name,
        show(figure.median, unit),
        show(figure.lowest(), unit),
        show(figure.highest(), unit),
        target(figure),
        verdict(figure).unwrap_or_default(),
    )
}

/// The target as people write it; a target for every value says so.
fn target(figure: &Figure) -> String {
    let target = match (figure.at_most, figure.at_least) {
        (Some(most), _) => format!("≤ {}", show(most, figure.unit)),
        (None, Some(least)) => format!("≥ {}", show(least, figure.unit)),
        (None, None) => return String::new(),
    };
    let every = if figure.worst { ", every one" } else { "" };
    format!("{target}{every}")
}

fn verdict(figure: &Figure) -> Option<&'static str> {
    figure.met().map(|met| if met { "met" } else { "**missed**" })
}

/// A value with the digits that still say something, thousands set apart.
fn show(value: f64, unit: Unit) -> String {
    let digits = match value.abs() {
        _ if unit == Unit::Count => 0,
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{}{}", thousands(&format!("{value:.digits$}")), unit.symbol())
}

/// `12345` to `12,345`; a fraction stays as it is.
fn thousands(number: &str) -> String {
    let (whole, fraction) = number.split_at(number.find('.').unwrap_or(number.len()));
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut out = sign.to_owned();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

/// With a capital, where it begins with a letter.
fn title(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
