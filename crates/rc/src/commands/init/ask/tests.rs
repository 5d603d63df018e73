use clap::Parser as _;

use super::*;
use crate::commands::init::{Template, Tier};

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// What comes of a command line and what a person types, and what the person saw.
fn answers(line: &[&str], typed: &[&str]) -> (Result<Answers, Fault>, Vec<String>) {
    let args = Line::parse_from([&["init"], line].concat()).args;
    let mut said = Vec::new();
    let typed: Vec<io::Result<String>> = typed.iter().map(|line| Ok((*line).to_owned())).collect();
    let answers = complete(args, typed.into_iter(), |text| said.push(text.to_owned()));
    (answers, said)
}

#[test]
fn empty_answers_are_the_defaults_that_were_shown() {
    let (answers, said) = answers(&[], &["orders", "", "", "", ""]);
    let answers = answers.unwrap();
    assert_eq!(answers.name.as_str(), "orders");
    assert_eq!((answers.template, answers.tier), (Template::Rust, Tier::Silver));
    assert_eq!(
        (answers.owner.as_str(), &*answers.oncall),
        ("platform", "#oncall-platform")
    );
    let expected = [
        "name of the service?",
        "template: rust, node or python [rust]?",
        "owner: the team that answers for it [platform]?",
        "tier: gold, silver or bronze [silver]?",
        "oncall: where to call the team [#oncall-platform]?",
    ];
    assert_eq!(said, expected);
}

#[test]
fn only_what_is_open_is_asked_and_a_wrong_answer_is_asked_again() {
    let line = ["orders", "--template", "node", "--oncall", "#x"];
    let (answers, said) = answers(&line, &["shop team", "shop", "platinum", "gold"]);
    let answers = answers.unwrap();
    assert_eq!((answers.owner.as_str(), answers.tier), ("shop", Tier::Gold));
    assert_eq!(said.len(), 6, "{said:?}");
    assert!(said[1].contains("not allowed in a name"), "{said:?}");
}

#[test]
fn whoever_stops_answering_gets_nothing() {
    let (answers, _) = answers(&["orders"], &["python"]);
    let fault = answers.unwrap_err();
    assert!(fault.to_string().contains("nothing was written"), "{fault}");
}
