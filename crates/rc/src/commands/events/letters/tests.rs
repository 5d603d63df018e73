use clap::Parser as _;

use super::*;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn target(words: &[&str]) -> Result<(Option<String>, Selection), String> {
    let line = ["dlq", "drop", "--reason", "x"].iter().chain(words);
    let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
    let Verb::Drop(drop) = line.args.verb else {
        unreachable!("the words say drop")
    };
    let chosen = drop.target.chosen().map_err(|fault| fault.to_string());
    chosen.map(|(holder, select)| (holder.map(str::to_owned), select))
}

#[test]
fn nothing_is_chosen_by_leaving_everything_out() {
    assert_eq!(target(&[]).unwrap_err(), "no letter was chosen");
    let (holder, all) = target(&["--all"]).unwrap();
    assert_eq!((holder, all.numbers.len()), (None, 0));
    let (_, some) = target(&["--class", "gap"]).unwrap();
    assert_eq!(some.class.as_deref(), Some("gap"));
}

#[test]
fn letters_are_named_or_chosen_and_have_one_holder() {
    let (holder, named) = target(&["ingest/3", "ingest/4"]).unwrap();
    assert_eq!((holder.as_deref(), named.numbers), (Some("ingest"), vec![3, 4]));
    let (holder, named) = target(&["7"]).unwrap();
    assert_eq!((holder, named.numbers), (None, vec![7]));
    assert_eq!(
        target(&["ingest/3", "4"]).unwrap_err(),
        "these letters have different holders"
    );
    assert_eq!(
        target(&["3", "--all"]).unwrap_err(),
        "letters are both named and chosen by options"
    );
    for bad in ["docs-api/", "0", "x"] {
        assert!(target(&[bad]).unwrap_err().contains("expected a letter"), "{bad}");
    }
}
