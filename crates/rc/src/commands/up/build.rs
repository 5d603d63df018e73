//! Runs what services are built by, before they start.
//!
//! A build runs as the service itself does: under the guard, so that nothing of it is left when it is stopped or this
//! process is killed, and with its output in the service's log. Whether there is something to do is for the
//! build's own tool to know.

use std::future::Future;
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use rc_runtime::{Cause, Instance, ServiceSpec, Target};

use super::screen::{Event, Show, printable};
use crate::fault::Fault;

/// A first build may fetch and compile all that a large program depends on.
const BUILD_MAX: Duration = Duration::from_secs(20 * 60);
/// A build that was asked to end is killed by its guard after the service's drain, and by us after this in addition.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How a round of builds ended, when none failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Built {
    All,
    /// It was interrupted.
    Stopped,
}

/// Runs `builds` one after the other until one fails or `interrupted` resolves.
pub(super) async fn run(
    target: &dyn Target,
    builds: &[ServiceSpec],
    interrupted: impl Future<Output = ()>,
    show: &mut dyn Show,
) -> Result<Built, Fault> {
    tokio::pin!(interrupted);
    for spec in builds {
        let command = command_line(spec);
        let id = &spec.id;
        show.show(&Event::Note {
            text: format!("building {id}: {command}  (`rc logs {id} -f` shows its output)"),
        });
        target.note(spec, "info", &format!("building: {command}"));
        let began_ns = monotonic_ns();
        let mut instance = target
            .start(spec)
            .await
            .map_err(|error| failed(spec, &Cause::NotStarted(error.to_string())))?;
        let cause = tokio::select! {
            cause = instance.ended() => cause,
            () = &mut interrupted => {
                end(spec, instance).await;
                return Ok(Built::Stopped);
            }
            () = tokio::time::sleep(BUILD_MAX) => {
                end(spec, instance).await;
                let minutes = BUILD_MAX.as_secs() / 60;
                return Err(Fault::world(
                    "RC-UP-011",
                    format!("the build of `{id}` was not done within {minutes} minutes: {command}"),
                )
                .hint(format!("`rc logs {id}` shows how far it came; run it by hand once to see where it hangs")));
            }
        };
        let took = Duration::from_nanos(monotonic_ns().saturating_sub(began_ns));
        target.note(
            spec,
            "info",
            &format!("the build {cause} after {:.1} s", took.as_secs_f64()),
        );
        if cause != Cause::Status(0) {
            show.show(&Event::Warning {
                text: last_words(spec, &target.last_lines(id)),
            });
            return Err(failed(spec, &cause));
        }
        show.show(&Event::Note {
            text: format!("built {id} in {:.1} s", took.as_secs_f64()),
        });
    }
    Ok(Built::All)
}

/// Asks a build to end, and does not wait longer for it than its guard does.
async fn end(spec: &ServiceSpec, mut instance: Box<dyn Instance>) {
    instance.terminate();
    if tokio::time::timeout(spec.drain + STOP_GRACE, instance.ended())
        .await
        .is_err()
    {
        instance.kill();
    }
}

fn command_line(spec: &ServiceSpec) -> String {
    let program = spec.program.strip_prefix(&spec.cwd).unwrap_or(&spec.program);
    let words = std::iter::once(program.as_os_str()).chain(spec.args.iter().map(|word| word.as_os_str()));
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    printable(&words.join(" "))
}

fn last_words(spec: &ServiceSpec, lines: &[String]) -> String {
    if lines.is_empty() {
        return format!("the build of {} printed nothing", spec.id);
    }
    let lines: Vec<String> = lines
        .iter()
        .map(|line| format!("\n    │ {}", printable(line)))
        .collect();
    format!("the last lines of the build of {}:{}", spec.id, lines.concat())
}

fn failed(spec: &ServiceSpec, cause: &Cause) -> Fault {
    /// How a shell, and our guard, says that there is no such program.
    const NOT_FOUND: Cause = Cause::Status(127);
    let id = &spec.id;
    let hint = if *cause == NOT_FOUND {
        "`rc doctor` says which programs are missing here".to_owned()
    } else {
        format!("its last lines are above; `rc logs {id} -n 1000` shows more. Mend it and run `rc up` again")
    };
    Fault::world(
        "RC-UP-011",
        format!("the build of `{id}` {cause}: {}", command_line(spec)),
    )
    .hint(hint)
}

#[cfg(test)]
mod tests;
