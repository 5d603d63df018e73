//! Manual pages as readable text: enough of roff, man and mdoc to lose the marks and keep every word.

/// Requests whose arguments are words in alternating fonts, set without space between them.
const ALTERNATING: [&str; 6] = ["BI", "BR", "IB", "IR", "RB", "RI"];

/// Requests that begin a paragraph; what stands behind them on the line is a mark or an indent.
const PARAGRAPHS: [&str; 9] = ["PP", "LP", "P", "TP", "TQ", "HP", "sp", "Pp", "It"];

/// mdoc's macros for words, which only change fonts.
const MDOC_WORDS: [&str; 34] = [
    "Nm", "Nd", "Ar", "Op", "Pa", "Xr", "Cm", "Ic", "Em", "Sy", "Li", "Dq", "Sq", "Pq", "Ql", "Va", "Ev",
    "Er", "Fa", "Fn", "Ft", "Ns", "Ad", "An", "Bq", "Brq", "Cd", "Dv", "Lk", "Mt", "No", "Qq", "St", "Ux",
];

/// The sections of a page: heading and text. Sections without words are left out.
pub(crate) fn sections(page: &str) -> Vec<(String, String)> {
    let mut sections: Vec<(String, String)> = Vec::new();
    let mut skipping = Skipping::No;
    for line in page.lines() {
        if skipping.takes(line) {
            continue;
        }
        let Some(request) = line.strip_prefix(['.', '\'']) else {
            text_line(&mut sections, &unescape(line));
            continue;
        };
        let request = request.trim_start();
        let (name, rest) = request.split_once([' ', '\t']).unwrap_or((request, ""));
        match name {
            "SH" | "Sh" => {
                let heading = unescape(&arguments(rest).join(" "));
                sections.push((capitals(&heading), String::new()));
            }
            "SS" | "Ss" => paragraph(&mut sections, &unescape(&arguments(rest).join(" "))),
            "IP" => paragraph(
                &mut sections,
                &unescape(arguments(rest).first().map_or("", String::as_str)),
            ),
            "B" | "I" | "SM" | "SB" => text_line(&mut sections, &unescape(&arguments(rest).join(" "))),
            "Fl" => text_line(&mut sections, &mdoc(&format!("Fl {rest}"))),
            "It" if !rest.is_empty() => paragraph(&mut sections, &mdoc(rest)),
            _ if ALTERNATING.contains(&name) => {
                text_line(&mut sections, &unescape(&arguments(rest).concat()))
            }
            _ if PARAGRAPHS.contains(&name) => paragraph(&mut sections, ""),
            _ if MDOC_WORDS.contains(&name) => text_line(&mut sections, &mdoc(rest)),
            "de" | "de1" | "ig" | "am" => skipping = Skipping::UntilDots,
            _ if request.ends_with("\\{") || request.ends_with("\\{\\") => skipping = Skipping::Block(1),
            _ => {}
        }
    }
    let whole = sections
        .into_iter()
        .map(|(heading, text)| (heading, text.trim().to_owned()));
    whole
        .filter(|(heading, text)| !heading.is_empty() && text.chars().any(char::is_alphanumeric))
        .collect()
}

/// Parts of a page that are program and not text.
enum Skipping {
    No,
    /// A macro's definition, up to `..`.
    UntilDots,
    /// A conditional block, up to its closing brace.
    Block(u32),
}

impl Skipping {
    fn takes(&mut self, line: &str) -> bool {
        match self {
            Self::No => return false,
            Self::UntilDots => {
                if line.starts_with("..") {
                    *self = Self::No;
                }
            }
            Self::Block(depth) => {
                *depth += u32::try_from(line.matches("\\{").count()).unwrap_or(0);
                *depth = depth.saturating_sub(u32::try_from(line.matches("\\}").count()).unwrap_or(0));
                if *depth == 0 {
                    *self = Self::No;
                }
            }
        }
        true
    }
}

fn text_line(sections: &mut [(String, String)], line: &str) {
    // What stands before the first heading is a comment or a title.
    let Some((_, text)) = sections.last_mut() else {
        return;
    };
    text.push_str(line.trim_end());
    text.push('\n');
}

fn paragraph(sections: &mut [(String, String)], line: &str) {
    let Some((_, text)) = sections.last_mut() else {
        return;
    };
    if !text.ends_with("\n\n") && !text.is_empty() {
        text.push('\n');
    }
    if !line.is_empty() {
        text_line(sections, line);
    }
}

/// A request's arguments; quotes hold words together, and a doubled quote stands for one.
fn arguments(rest: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut chars = rest.trim().chars().peekable();
    while let Some(first) = chars.next() {
        if first == ' ' || first == '\t' {
            continue;
        }
        let quoted = first == '"';
        let mut argument = if quoted { String::new() } else { first.to_string() };
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => {
                    chars.next();
                    argument.push('"');
                }
                '"' if quoted => break,
                ' ' | '\t' if !quoted && !argument.ends_with('\\') => break,
                _ => argument.push(c),
            }
        }
        arguments.push(argument);
    }
    arguments
}

/// The words of an mdoc line: macros go, flags get their dash.
fn mdoc(rest: &str) -> String {
    let mut words = Vec::new();
    let mut flag = false;
    for argument in arguments(rest) {
        if argument == "Fl" {
            flag = true;
        } else if !MDOC_WORDS.contains(&argument.as_str()) {
            let word = unescape(&argument);
            words.push(if flag { format!("-{word}") } else { word });
            flag = false;
        }
    }
    words.join(" ")
}

/// A line without escapes: fonts go, characters with names become themselves.
fn unescape(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(kind) = rest.chars().next() else { break };
        rest = &rest[kind.len_utf8()..];
        match kind {
            '"' => return out,
            'f' | 'm' | 'M' | 'F' | 'n' => rest = name(rest).1,
            '*' => {
                let (string, after) = name(rest);
                out.push_str(match string {
                    "lq" | "Lq" | "rq" | "Rq" | "dq" => "\"",
                    _ => "",
                });
                rest = after;
            }
            '(' => {
                let end = rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at);
                out.push_str(special(&rest[..end]));
                rest = &rest[end..];
            }
            '[' => {
                let (inside, after) = rest.split_once(']').unwrap_or((rest, ""));
                out.push_str(special(inside));
                rest = after;
            }
            's' => {
                rest = rest
                    .trim_start_matches(['+', '-'])
                    .trim_start_matches(|c: char| c.is_ascii_digit())
            }
            'e' | '\\' => out.push('\\'),
            '-' => out.push('-'),
            ' ' | '~' | '0' => out.push(' '),
            '\'' | '`' => out.push('\''),
            // \& \| \^ \c \: \/ \, and what else takes no room.
            _ => {}
        }
    }
    out.push_str(rest);
    out
}

/// A name behind an escape, `x`, `(xx` or `[any]`, and what follows it.
fn name(rest: &str) -> (&str, &str) {
    if let Some(rest) = rest.strip_prefix('[') {
        return rest.split_once(']').unwrap_or((rest, ""));
    }
    let (rest, chars) = rest.strip_prefix('(').map_or((rest, 1), |rest| (rest, 2));
    let end = rest.char_indices().nth(chars).map_or(rest.len(), |(at, _)| at);
    rest.split_at(end)
}

fn special(name: &str) -> &'static str {
    match name {
        "aq" | "cq" | "oq" => "'",
        "dq" | "lq" | "rq" => "\"",
        "bu" => "*",
        "em" | "en" | "mi" => "-",
        "ti" | "ha" => {
            if name == "ti" {
                "~"
            } else {
                "^"
            }
        }
        "rs" => "\\",
        "co" => "©",
        "mu" => "x",
        "+-" => "±",
        "<=" => "<=",
        ">=" => ">=",
        "->" => "->",
        "ga" => "`",
        _ => "",
    }
}

/// `NAME` is how headings are told apart, in whatever way a page writes them.
fn capitals(heading: &str) -> String {
    heading
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_uppercase()
}

#[test]
fn a_page_becomes_readable_sections() {
    let page = ".\\\" comment\n.de XX\n.B hidden\n..\n.TH LS 1\n.SH NAME\nls \\- list \\fIdirectory\\fR contents\n.SH \"EXIT STATUS\"\n.TP\n.B 0\nif \\fBOK\\fP,\n.if n \\{\\\n.ad l\n.\\}\n.BR ls (1)\nsays \\(aqfine\\(aq.\n.SH EMPTY\n";
    let expected = [
        ("NAME", "ls - list directory contents"),
        ("EXIT STATUS", "0\nif OK,\nls(1)\nsays 'fine'."),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(heading, text)| (heading.to_owned(), text.to_owned()))
        .collect();
    assert_eq!(sections(page), expected);
}

#[test]
fn an_mdoc_page_does_too() {
    let page = ".Dd today\n.Sh NAME\n.Nm ssh\n.Nd remote login client\n.Sh SYNOPSIS\n.Op Fl p Ar port\n.Bl -tag\n.It Fl 4\nForces IPv4.\n.El\n";
    let expected = [
        ("NAME", "ssh\nremote login client"),
        ("SYNOPSIS", "-p port\n\n-4\nForces IPv4."),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(heading, text)| (heading.to_owned(), text.to_owned()))
        .collect();
    assert_eq!(sections(page), expected);
}

#[test]
fn words_in_quotes_stay_together() {
    assert_eq!(
        arguments("\"EXIT STATUS\" x \"a \"\"b\"\"\""),
        ["EXIT STATUS", "x", "a \"b\""]
    );
}
