//! `cargo xtask repo`: labels and branch rules are data in `.github/`; this compares them with the forge
//! and applies them. It speaks to the forge only through `gh api`, which knows the repository and the login.

mod branch_rules;
mod forge;
mod labels;

use clap::{ArgGroup, Subcommand};

use crate::cx::Cx;
use crate::process::Stop;
use crate::repo::forge::Forge;

/// What is kept as data.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Labels of issues and pull requests (`.github/labels.json`)
    Labels(Mode),
    /// Rules of the main branch (`.github/branch-rules.json`)
    BranchRules(Mode),
}

/// Whether to look or to change; with neither, only the data is checked, offline.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(group = ArgGroup::new("mode").args(["check", "apply"]))]
pub(crate) struct Mode {
    /// Print what differs at the forge; exit 1 when something does
    #[arg(long)]
    check: bool,
    /// Make the forge equal to the data; nothing that is only there is deleted
    #[arg(long)]
    apply: bool,
}

/// One difference between the data and the forge, and the call that ends it.
#[derive(Debug, PartialEq)]
struct Change {
    /// For people: what differs.
    about: String,
    method: &'static str,
    /// Below `repos/OWNER/NAME/`.
    path: String,
    body: serde_json::Value,
}

/// What a comparison found.
#[derive(Debug, PartialEq)]
struct Difference {
    changes: Vec<Change>,
    /// Names that only the forge has; they are shown and left alone.
    only_there: Vec<String>,
}

/// Validates the data, and then compares or applies.
pub(crate) fn run(cx: &Cx, command: &Command) -> Result<(), Stop> {
    let forge = Forge::new(&cx.root);
    match command {
        Command::Labels(mode) => {
            let wanted = labels::parse(&cx.read(labels::FILE)?)?;
            println!("{}: {} labels", labels::FILE, wanted.len());
            settle(*mode, &forge, |forge| labels::compare(&wanted, forge))
        }
        Command::BranchRules(mode) => {
            let wanted = branch_rules::parse(&cx.read(branch_rules::FILE)?)?;
            println!("{}: {} rulesets", branch_rules::FILE, wanted.len());
            settle(*mode, &forge, |forge| branch_rules::compare(&wanted, forge))
        }
    }
}

fn settle(
    mode: Mode,
    forge: &Forge,
    compare: impl Fn(&Forge) -> Result<Difference, Stop>,
) -> Result<(), Stop> {
    if !mode.check && !mode.apply {
        println!("the data is valid; `--check` compares it with the forge, `--apply` changes the forge");
        return Ok(());
    }
    let found = compare(forge)?;
    for change in &found.changes {
        println!("{}", change.about);
        if mode.apply {
            forge.send(change.method, &change.path, &change.body)?;
        }
    }
    for name in &found.only_there {
        println!("only at the forge, left alone: {name}");
    }
    let left = if mode.apply {
        compare(forge)?.changes.len()
    } else {
        found.changes.len()
    };
    match left {
        0 if mode.apply => println!("{} changes applied", found.changes.len()),
        0 => println!("the forge equals the data"),
        left if mode.apply => return Err(Stop::world(format!("{left} differences are left after applying"))),
        left => {
            return Err(Stop::no(format!(
                "{left} differences\n  hint: `--apply` ends them"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
