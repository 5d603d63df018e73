//! `rc gateway diff`: what would change for whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rc_model::gateway::GatewayModel;
use rc_model::{Model, Sources};
use rc_serve::uds;
use serde::Serialize;

use super::files::{Told, json, leaves};
use crate::cx::{self, Cx};
use crate::fault::{Fault, Outcome};

/// Longest wait for the running gateway.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Most names that one line lists.
const NAMES_MAX: usize = 6;

/// Compare what a gateway is told: limits for each tenant, routes, services, settings
///
/// Each side is the `gateway.yaml` of a gateway on its own, or the folder of a project. With one side only, what is in
/// force in the gateway that runs with it is compared with what it says.
///
/// Limits are compared as they apply, so that a changed tier is told for each tenant that has it.
///
/// Exit codes: 0 they are the same, 1 they differ, 2 one of them has faults, 3 no gateway runs.
///
/// `--output json` prints `{"same": false, "changes": [{"of", "change", "names", "key", "before", "after"}]}`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The one before; or the only one, which is compared with what is in force
    #[arg(value_name = "OLD")]
    first: PathBuf,
    /// The one after
    #[arg(value_name = "NEW")]
    second: Option<PathBuf>,
}

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct Compared {
    same: bool,
    changes: Vec<Change>,
}

/// One change, for everybody whom it concerns alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Change {
    of: Kind,
    change: What,
    /// Whom: tenants, routes, services.
    names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Tenant,
    Anonymous,
    Route,
    Service,
    Setting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Added,
    Removed,
    Changed,
}

/// Everything that can be compared: of each thing every value by its key.
type View = BTreeMap<(Kind, String), BTreeMap<String, String>>;

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let first = cx.cwd.join(&args.first);
    let (before, after) = match &args.second {
        Some(second) => (read(cx, &first)?, read(cx, &cx.cwd.join(second))?),
        None => {
            let wanted = read(cx, &first)?;
            (in_force(cx, &first, &wanted).await?, wanted)
        }
    };
    let changes = compare(&view(&before), &view(&after));
    let same = changes.is_empty();
    if cx.json() {
        cx.print_json(&Compared { same, changes });
    } else if same {
        cx.say("nothing would change");
    } else {
        cx.say(for_people(&changes));
    }
    Ok(if same { Outcome::Done } else { Outcome::No })
}

fn read(cx: &Cx, path: &Path) -> Result<Told, Fault> {
    if path.is_dir() {
        let sources = Sources::from_dir(path);
        let model = Model::read(&sources)
            .map_err(|problems| cx::told(&problems, "the project's files have problems"))?;
        return Ok(Told::project(&sources, model, cx));
    }
    Ok(Told::alone(super::model(cx, path)?))
}

/// What is in force in the gateway that runs with the file or project at `path`.
async fn in_force(cx: &Cx, path: &Path, told: &Told) -> Result<Told, Fault> {
    let not_running = || {
        Fault::world("RC-CLI-010", "no gateway runs with that configuration")
            .hint("start it, or compare with another file: `rc gateway diff OLD NEW`")
    };
    if path.is_dir() {
        let layout = rc_model::Layout::new(path);
        let sources = Sources::kept(&layout.in_force_file()).ok_or_else(not_running)?;
        let model = Model::read(&sources).map_err(|_damaged| not_running())?;
        return Ok(Told::project(&sources, model, cx));
    }
    let request = http::Request::get("/-/config").header(http::header::ACCEPT, "application/yaml");
    let request = request.body(Bytes::new()).map_err(|_never| not_running())?;
    let answer = uds::call(&told.socket, request, ANSWER_MAX)
        .await
        .map_err(|error| not_running().because(error))?;
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    let model = GatewayModel::from_text(path, &text)
        .map_err(|problems| cx::told(&problems, "what is in force cannot be read by this version"))?;
    Ok(Told::alone(model))
}

fn view(told: &Told) -> View {
    let mut view = View::new();
    let mut add = |kind, name: String, values: Vec<(String, String)>| {
        view.insert((kind, name), values.into_iter().collect());
    };
    for (id, limits) in told.tenants.effective_of_all() {
        add(Kind::Tenant, id.to_string(), leaves(&json(&limits)));
    }
    add(Kind::Anonymous, String::new(), leaves(&json(&told.anonymous)));
    for (service, route) in &told.routes {
        let methods: Vec<&str> = route.methods.iter().map(|method| method.as_str()).collect();
        let methods = if methods.is_empty() {
            "all methods".to_owned()
        } else {
            methods.join(",")
        };
        let mut value = json(route);
        value["service"] = service.as_str().into();
        if let Some(members) = value.as_object_mut() {
            members.retain(|key, _| key != "path" && key != "methods");
        }
        add(Kind::Route, format!("{} ({methods})", route.path), leaves(&value));
    }
    for (id, place) in &told.services {
        let health = told.health.get(id);
        let value = serde_json::json!({ "at": place, "health": health });
        add(Kind::Service, id.to_string(), leaves(&value));
    }
    add(Kind::Setting, String::new(), leaves(&told.settings));
    view
}

fn compare(before: &View, after: &View) -> Vec<Change> {
    // The same change of many is one line: it is told once, with their names.
    let mut grouped: BTreeMap<Change, Vec<String>> = BTreeMap::new();
    let mut push =
        |of, change, name: &str, key: Option<&str>, (before, after): (Option<&String>, Option<&String>)| {
            let told = Change {
                of,
                change,
                names: Vec::new(),
                key: key.map(str::to_owned),
                before: before.cloned(),
                after: after.cloned(),
            };
            grouped.entry(told).or_default().push(name.to_owned());
        };
    let things: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for thing in things {
        let (of, name) = thing;
        match (before.get(thing), after.get(thing)) {
            (Some(old), Some(new)) => {
                let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
                for key in keys {
                    let (old, new) = (old.get(key), new.get(key));
                    if old != new {
                        push(*of, What::Changed, name, Some(key), (old, new));
                    }
                }
            }
            (old, _) => {
                let change = if old.is_some() { What::Removed } else { What::Added };
                push(*of, change, name, None, (None, None));
            }
        }
    }
    let named = grouped.into_iter();
    named.map(|(change, names)| Change { names, ..change }).collect()
}

fn for_people(changes: &[Change]) -> String {
    let mut lines = Vec::new();
    for of in changes.chunk_by(|a, b| a.of == b.of) {
        lines.push(
            match of[0].of {
                Kind::Tenant => "tenants",
                Kind::Anonymous => "requests of nobody",
                Kind::Route => "routes",
                Kind::Service => "services",
                Kind::Setting => "settings, which take effect at the next start",
            }
            .to_owned(),
        );
        for change in of {
            let shown = change
                .names
                .iter()
                .take(NAMES_MAX)
                .cloned()
                .collect::<Vec<_>>()
                .join(", ");
            let more = match change.names.len().saturating_sub(NAMES_MAX) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let none = || "nothing".to_owned();
            let (sign, what) = match change.change {
                What::Added => ("+", String::new()),
                What::Removed => ("-", String::new()),
                What::Changed => (
                    "~",
                    format!(
                        "{}: {} -> {}",
                        change.key.as_deref().unwrap_or_default(),
                        change.before.clone().unwrap_or_else(none),
                        change.after.clone().unwrap_or_else(none),
                    ),
                ),
            };
            let whom = format!("{shown}{more}");
            let gap = if whom.is_empty() || what.is_empty() {
                ""
            } else {
                "  "
            };
            lines.push(format!("  {sign} {whom}{gap}{what}"));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests;
