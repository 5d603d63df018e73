//! Asking a person for what the command line left open.

use std::fmt::Display;
use std::io;

use super::{Answers, Args, default_oncall, default_owner, oncall, service_name};
use crate::fault::Fault;

/// Asks for name, template, owner and tier, where they were not given. `lines` are what the person types.
///
/// # Errors
/// When the person stops answering, or a name on the command line cannot be used.
pub(super) fn complete(
    args: Args,
    mut lines: impl Iterator<Item = io::Result<String>>,
    mut say: impl FnMut(&str),
) -> Result<Answers, Fault> {
    let name = match &args.name {
        Some(name) => service_name(name)?,
        None => one(
            &mut lines,
            &mut say,
            "name of the service",
            None::<String>,
            |text| service_name(text).map_err(|fault| fault.to_string()),
        )?,
    };
    let template = match args.template {
        Some(template) => template,
        None => one(
            &mut lines,
            &mut say,
            "template: rust, node or python",
            Some("rust"),
            |text| <super::Template as clap::ValueEnum>::from_str(text, false),
        )?,
    };
    let owner = match args.owner {
        Some(owner) => owner,
        None => one(
            &mut lines,
            &mut say,
            "owner: the team that answers for it",
            Some(default_owner()),
            |text| rc_model::OwnerId::new(text).map_err(|error| error.to_string()),
        )?,
    };
    let tier = match args.tier {
        Some(tier) => tier,
        None => one(
            &mut lines,
            &mut say,
            "tier: gold, silver or bronze",
            Some("silver"),
            |text| <super::Tier as clap::ValueEnum>::from_str(text, false),
        )?,
    };
    let oncall = match args.oncall {
        Some(oncall) => oncall,
        None => one(
            &mut lines,
            &mut say,
            "oncall: where to call the team",
            Some(default_oncall(&owner)),
            oncall,
        )?,
    };
    Ok(Answers {
        name,
        template,
        owner,
        tier,
        oncall,
    })
}

/// Asks until the answer can be used; an empty one means the default.
fn one<T>(
    lines: &mut impl Iterator<Item = io::Result<String>>,
    say: &mut impl FnMut(&str),
    question: &str,
    default: Option<impl Display>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Fault> {
    let default = default.map(|default| default.to_string());
    loop {
        let shown = default
            .as_ref()
            .map_or_else(String::new, |default| format!(" [{default}]"));
        say(&format!("{question}{shown}?"));
        let answer = match lines.next() {
            Some(Ok(answer)) => answer,
            Some(Err(error)) => return Err(no_answer().because(error)),
            None => return Err(no_answer()),
        };
        let answer = match (answer.trim(), &default) {
            ("", Some(default)) => default.as_str(),
            (answer, _) => answer,
        };
        match read(answer) {
            Ok(value) => return Ok(value),
            Err(why) => say(&format!("  {why}")),
        }
    }
}

fn no_answer() -> Fault {
    Fault::usage("RC-INI-003", "there was no answer; nothing was written")
        .hint("give the name and `--yes` to be asked nothing: `rc init orders --yes`")
}

#[cfg(test)]
mod tests;
