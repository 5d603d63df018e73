//! `rc gateway check`: everything that is wrong with what a gateway is told.

use rc_model::gateway::GatewayModel;
use rc_model::{Diagnostic, Model, Sources};
use rc_services::gateway::alone;

use super::ConfigArg;
use super::files::routes;
use crate::commands::catalog::check::show;
use crate::commands::serve::start_fault;
use crate::cx::Cx;
use crate::fault::Outcome;

/// Check what a gateway is told, without running it
///
/// With `--config` the `gateway.yaml` of a gateway on its own, its keys and its TLS files; without, the project's files.
/// Every problem is told with file, line and column, and what to do about it. Names are not looked up, and nothing
/// is bound.
///
/// Exit codes: 0 it can be used (there may be warnings), 2 it cannot, 3 a TLS file cannot be used.
///
/// `--output json` prints `{"ok": true, "problems": [...]}` as `rc catalog check` does.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let Some(config) = &args.config.config else {
        return Ok(project(cx));
    };
    let result = GatewayModel::from_file(&cx.cwd.join(config));
    let model = match &result {
        Ok(model) => model,
        Err(problems) => return Ok(show(cx, false, problems, &counted(problems))),
    };
    alone::check(model).map_err(start_fault)?;
    let routes: usize = model
        .file
        .services
        .values()
        .map(|service| service.routes.len())
        .sum();
    let text = format!(
        "{}, {}, {} and {}: {}",
        plural(model.file.services.len(), "service"),
        plural(routes, "route"),
        plural(model.tenants.tenants.len(), "tenant"),
        plural(model.keys.len(), "key"),
        counted(&model.warnings),
    );
    Ok(show(cx, true, &model.warnings, &text))
}

fn project(cx: &Cx) -> Outcome {
    match Model::read(&Sources::from_dir(&cx.project_dir())) {
        Err(problems) => show(cx, false, &problems, &counted(&problems)),
        Ok(model) => {
            let routes = routes(&model.catalog);
            let text = format!(
                "{} and {}: {}",
                plural(routes.len(), "route"),
                plural(model.tenants.tenants.len(), "tenant"),
                counted(&model.warnings)
            );
            show(cx, true, &model.warnings, &text)
        }
    }
}

fn counted(problems: &[Diagnostic]) -> String {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    match (errors, problems.len() - errors) {
        (0, 0) => "no problems".to_owned(),
        (0, warnings) => plural(warnings, "warning"),
        (errors, 0) => plural(errors, "problem"),
        (errors, warnings) => format!(
            "{} and {}",
            plural(errors, "problem"),
            plural(warnings, "warning")
        ),
    }
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
