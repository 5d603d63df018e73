//! Exit codes, and errors that carry one.
//!
//! 0 done, 1 the answer is no, 2 wrong use or configuration, 3 the world failed. A bug panics, and a panic
//! ends the process with 101.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    No,
    Usage,
    World,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Usage => 2,
            Exit::World => 3,
        })
    }
}

/// What a command that did not fail found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did what was asked, or the answer is yes.
    Done,
    /// The answer is no: a check failed, something is not ready.
    No,
    /// A service or guarded command ended with this code.
    Code(u8),
}

impl Outcome {
    /// The exit code that says so.
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::Done => Exit::Done.into(),
            Self::No => Exit::No.into(),
            Self::Code(code) => ExitCode::from(code),
        }
    }
}

/// An error a person sees: what happened, why, and what to do.
///
/// One pointer wide, so that results stay small.
#[derive(Debug)]
pub(crate) struct Fault(Box<Inner>);

#[derive(Debug)]
struct Inner {
    exit: Exit,
    code: &'static str,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Fault {
    fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            exit,
            code,
            message: message.into(),
            hint: None,
            source: None,
        }))
    }

    /// The answer is no (exit 1).
    pub(crate) fn no(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Exit::No, code, message)
    }

    /// Wrong use or configuration (exit 2).
    pub(crate) fn usage(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, code, message)
    }

    /// The network, the disk or a dependency failed (exit 3).
    pub(crate) fn world(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Exit::World, code, message)
    }

    /// The same fault with what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same fault with its cause.
    pub(crate) fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl miette::Diagnostic for Fault {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.0.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0
            .hint
            .as_ref()
            .map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }
}

/// Sets how reports look: unicode and colour on a terminal, plain text elsewhere.
pub(crate) fn install_hooks(color: bool) {
    // It can only be set once; a second call keeps the first.
    let _ = miette::set_hook(Box::new(move |_| {
        let theme = if color {
            miette::GraphicalTheme::unicode()
        } else {
            miette::GraphicalTheme::none()
        };
        Box::new(
            miette::GraphicalReportHandler::new_themed(theme)
                .with_width(110)
                .with_links(false),
        )
    }));
}

/// Prints `report` to stderr (as JSON when asked) and gives the exit code it carries, also when nobody reads.
pub(crate) fn exit_with(report: &miette::Report, json: bool) -> ExitCode {
    let exit = report
        .downcast_ref::<Fault>()
        .map_or(Exit::World, |fault| fault.0.exit);
    let told = if json {
        let causes: Vec<String> = report.chain().skip(1).map(ToString::to_string).collect();
        let body = serde_json::json!({
            "error": {
                "code": report.code().map(|code| code.to_string()),
                "message": report.to_string(),
                "causes": causes,
                "hint": report.help().map(|hint| hint.to_string()),
            }
        });
        format!("{body:#}\n")
    } else {
        format!("{report:?}\n")
    };
    // The reader may be gone, and with it everybody who could be told. `eprintln!` would panic.
    let _ = std::io::stderr().lock().write_all(told.as_bytes());
    exit.into()
}
