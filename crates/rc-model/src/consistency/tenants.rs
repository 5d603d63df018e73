//! `tenants.yaml` against itself and the project.

use std::sync::Arc;

use super::{Documents, check_ascending, check_not_zero, tiers};
use crate::check::suggest::{closest, one_of_or};
use crate::source::{Diagnostic, SourceFile, quote};
use crate::units::Rate;
use crate::yaml::Node;

/// Longest time in which credits may save up; longer than that they are a mistake.
const CREDITS_TIME_MAX_S: u64 = 365 * 86_400;

pub(super) fn check(documents: &Documents<'_>, problems: &mut Vec<Diagnostic>) {
    if let Some((source, own)) = documents.tenants.entry("tiers") {
        for tier in own.value.entries() {
            check_limits(source, &tier.value, problems);
        }
    }
    let Some((source, tenants)) = documents.tenants.entry("tenants") else {
        return;
    };
    let empty = matches!(&tenants.value.value, crate::yaml::Value::Map(entries) if entries.is_empty());
    // A gateway on its own has none when the key is absent, either.
    if empty && source.name() == crate::workspace::TENANTS_FILE {
        problems.push(
            Diagnostic::warning("RC-CFG-018", source, tenants.key_span, "there is no tenant")
                .label("nobody can call the platform")
                .hint("add a tenant, or remove the key to get the demo tenants `acme` and `globex`"),
        );
    }
    let tiers = tiers(documents).unwrap_or_default();
    let region = documents
        .project
        .entry("region")
        .and_then(|(_, entry)| entry.value.as_text());
    for tenant in tenants.value.entries() {
        check_limits(source, &tenant.value, problems);
        if let Some(tier) = tenant.value.get("tier") {
            check_tier(
                source,
                tier,
                || format!("the tenant {}", quote(&tenant.key)),
                &tiers,
                problems,
            );
        }
        if let (Some(region), Some(residency)) = (region, tenant.value.entry("residency")) {
            let allowed: Vec<&str> = residency.value.items().iter().filter_map(Node::as_text).collect();
            if !allowed.is_empty() && !allowed.contains(&region) {
                let message = format!("{} may not have data in {}", quote(&tenant.key), quote(region));
                let mut warning = Diagnostic::warning("RC-CFG-017", source, residency.key_span, message)
                    .hint(format!(
                        "add {} to the list, or serve this tenant from an installation in {}",
                        quote(region),
                        quote(allowed[0]),
                    ));
                if let Some((project, entry)) = documents.project.entry("region") {
                    warning = warning.note(project, entry.value.span, "this installation's region");
                }
                problems.push(warning);
            }
        }
    }
}

/// What a tier and a tenant both can have.
fn check_limits(source: &Arc<SourceFile>, owner: &Node, problems: &mut Vec<Diagnostic>) {
    check_not_zero(source, owner.entry("timeout"), problems);
    let most = owner.get("timeout").and_then(|timeout| timeout.entry("max"));
    check_not_zero(source, most, problems);
    let target = owner.get("queue").and_then(|queue| queue.entry("target"));
    check_not_zero(source, target, problems);
    check_ascending(source, owner.entry("concurrency"), &["share", "max"], problems);
    if let Some(rps) = owner.get("rps") {
        check_credits(source, rps, problems);
    }
}

/// Credits that nobody could ever spend.
fn check_credits(source: &Arc<SourceFile>, rps: &Node, problems: &mut Vec<Diagnostic>) {
    let Some((node, credits)) = rps
        .get("credits")
        .and_then(|node| Some((node, u64::try_from(node.as_int()?).ok()?)))
        .filter(|(_, credits)| *credits > 0)
    else {
        return;
    };
    if rps.get("mode").and_then(Node::as_text) == Some("off") {
        problems.push(
            Diagnostic::error(
                "RC-CFG-017",
                source,
                node.span,
                "a rate that is `off` saves no `credits`",
            )
            .hint("remove `credits`, or write `mode: enforce` or `mode: shadow`"),
        );
    }
    let rate = rps.get("rate").and_then(|rate| match rate.as_int() {
        Some(number) => Rate::parse(&number.to_string()).ok(),
        None => Rate::parse(rate.as_text()?).ok(),
    });
    let Some(rate) = rate else { return };
    let most = CREDITS_TIME_MAX_S.saturating_mul(rate.count()) / rate.period().as_secs();
    if credits > most {
        let message = format!("{credits} `credits` take more than a year to save up at {rate}");
        problems.push(
            Diagnostic::error("RC-CFG-017", source, node.span, message)
                .hint(format!("raise `rate`, or write at most `credits: {most}`")),
        );
    }
}

/// Reports the tier that `node` names when there is none of that name.
pub(super) fn check_tier(
    source: &Arc<SourceFile>,
    node: &Node,
    owner: impl FnOnce() -> String,
    tiers: &[String],
    problems: &mut Vec<Diagnostic>,
) {
    // What is no name at all has been reported.
    let Some(name) = node.as_text().filter(|name| crate::id::check_name(name).is_ok()) else {
        return;
    };
    if tiers.iter().any(|tier| tier == name) {
        return;
    }
    let hint = match closest(name, tiers.iter().map(String::as_str)) {
        Some(guess) => format!("did you mean `{guess}`?"),
        None => one_of_or(tiers, "define it under `tiers:` in tenants.yaml"),
    };
    problems.push(
        Diagnostic::error(
            "RC-CFG-011",
            source,
            node.span,
            format!("{} has the tier {}, which does not exist", owner(), quote(name)),
        )
        .label("no tier of this name")
        .hint(hint),
    );
}
