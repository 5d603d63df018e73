//! Compares a tree with the JSON Schema of its file and reports everything that differs, in one pass.
//!
//! The schema is the one that `rc schema` prints, so an editor and `rc` agree. Values with a format of ours
//! are read by the type that will hold them, and its own error becomes the message.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::source::{ByteSpan, Diagnostic, SourceFile, quote};
use crate::yaml::{Entry, Node, Value};

pub(crate) mod format;
mod number;
mod place;
pub(crate) mod suggest;
mod wording;

use place::Place;
use suggest::{closest, one_of};
use wording::{about, and, kind, kinds, wrong_type_hint};

/// Most keys that a hint lists.
const KEYS_SHOWN_MAX: usize = 16;

/// Everything in `root` that the JSON Schema `schema` does not allow.
///
/// Besides the problems it gives the places of values that may be secret.
pub(crate) fn check(
    source: &Arc<SourceFile>,
    schema: &Json,
    root: &Node,
) -> (Vec<Diagnostic>, Vec<ByteSpan>) {
    let mut checker = Checker {
        source,
        schema,
        refs: HashMap::new(),
        problems: Vec::new(),
        secrets: Vec::new(),
    };
    // A file with nothing but comments is as good as none.
    if root.value != Value::Null {
        checker.visit(schema, root, &Place::root());
    }
    (checker.problems, checker.secrets)
}

/// A schema without its detours.
#[derive(Clone, Copy)]
struct Resolved<'a> {
    schema: &'a Json,
    /// The description nearest to the use.
    about: Option<&'a str>,
    nullable: bool,
}

impl<'a> Resolved<'a> {
    fn types(self) -> Vec<&'a str> {
        match self.schema.get("type") {
            Some(Json::String(one)) => vec![one.as_str()],
            Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        }
    }

    fn properties(self) -> Option<&'a Map<String, Json>> {
        self.schema.get("properties")?.as_object()
    }

    fn required(self) -> impl Iterator<Item = &'a str> {
        let required = self.schema.get("required").and_then(Json::as_array);
        required.into_iter().flatten().filter_map(Json::as_str)
    }

    fn format(self) -> Option<&'a str> {
        self.schema.get("format")?.as_str()
    }

    /// The allowed texts of an enumeration.
    fn options(self) -> Option<Vec<&'a str>> {
        if let Some(options) = self.schema.get("enum").and_then(Json::as_array) {
            return Some(options.iter().filter_map(Json::as_str).collect());
        }
        let options = self.schema.get("oneOf")?.as_array()?.iter();
        Some(
            options
                .filter_map(|option| option.get("const").and_then(Json::as_str))
                .collect(),
        )
    }
}

struct Checker<'a> {
    source: &'a Arc<SourceFile>,
    schema: &'a Json,
    /// What references stand for, so that each is looked up once.
    refs: HashMap<&'a str, &'a Json>,
    problems: Vec<Diagnostic>,
    secrets: Vec<ByteSpan>,
}

impl<'a> Checker<'a> {
    fn resolve(&mut self, schema: &'a Json) -> Resolved<'a> {
        let mut resolved = Resolved {
            schema,
            about: None,
            nullable: false,
        };
        loop {
            let schema = resolved.schema;
            let description = schema.get("description").and_then(Json::as_str);
            resolved.about = resolved.about.or(description);
            let pointer = schema.get("$ref").and_then(Json::as_str);
            if let Some(target) = pointer.and_then(|pointer| self.target(pointer)) {
                resolved.schema = target;
                continue;
            }
            let is_null = |option: &&'a Json| option.get("type").and_then(Json::as_str) == Some("null");
            let options = schema.get("anyOf").and_then(Json::as_array);
            let Some(target) = options.and_then(|options| options.iter().find(|option| !is_null(option)))
            else {
                resolved.nullable |= resolved.types().contains(&"null");
                return resolved;
            };
            resolved.nullable |= options.is_some_and(|options| options.iter().any(|option| is_null(&option)));
            resolved.schema = target;
        }
    }

    fn target(&mut self, pointer: &'a str) -> Option<&'a Json> {
        if let Some(target) = self.refs.get(pointer) {
            return Some(target);
        }
        let target = self.schema.pointer(pointer.trim_start_matches('#'))?;
        self.refs.insert(pointer, target);
        Some(target)
    }

    fn visit(&mut self, schema: &'a Json, node: &'a Node, place: &Place<'a, '_>) {
        let resolved = self.resolve(schema);
        let mut place = *place;
        place.secret |= [schema, resolved.schema]
            .into_iter()
            .any(|schema| schema.get("writeOnly") == Some(&Json::Bool(true)));
        if place.secret && !matches!(node.value, Value::Map(_) | Value::Null) {
            self.secrets.push(node.span);
        }
        if node.value == Value::Null && resolved.nullable {
            self.warn_of_comment(node, &place);
            return;
        }
        if let Some(options) = resolved.options() {
            self.check_option(&options, resolved, node, &place);
            return;
        }
        let types = resolved.types();
        match &node.value {
            Value::Map(entries) if types.contains(&"object") => {
                self.visit_map(resolved, entries, node, &place)
            }
            Value::List(items) if types.contains(&"array") => {
                for (index, item) in items.iter().enumerate() {
                    if let Some(schema) = resolved.schema.get("items") {
                        self.visit(schema, item, &place.item(index));
                    }
                }
            }
            Value::Int(number) if types.contains(&"integer") => {
                self.check_integer(resolved, *number, node, &place)
            }
            Value::Int(_) | Value::Float(_) if types.contains(&"number") => {
                self.check_number(resolved, node, &place)
            }
            Value::Bool(_) if types.contains(&"boolean") => {}
            Value::Text(text) if types.contains(&"string") => self.check_text(resolved, text, node, &place),
            _ => self.wrong_type(resolved, node, &place),
        }
    }

    fn visit_map(
        &mut self,
        resolved: Resolved<'a>,
        entries: &'a [Entry],
        node: &'a Node,
        place: &Place<'a, '_>,
    ) {
        if let Some(properties) = resolved.properties() {
            self.visit_record(resolved, properties, entries, node, place);
            return;
        }
        let named = resolved.schema.get("patternProperties").and_then(Json::as_object);
        let named = named.and_then(|patterns| patterns.values().next());
        let free = resolved.schema.get("additionalProperties");
        for entry in entries {
            if named.is_some()
                && let Err(malformed) = format::check("name", &entry.key)
            {
                self.problems.push(
                    Diagnostic::error(
                        "RC-CFG-010",
                        self.source,
                        entry.key_span,
                        format!("malformed name{}: {}", place.within(), malformed.message),
                    )
                    .hint_if(malformed.hint),
                );
            }
            if let Some(schema) = named.or(free) {
                self.visit(schema, &entry.value, &place.below(entry));
            }
        }
    }

    fn visit_record(
        &mut self,
        resolved: Resolved<'a>,
        properties: &'a Map<String, Json>,
        entries: &'a [Entry],
        node: &'a Node,
        place: &Place<'a, '_>,
    ) {
        let absent: Vec<&str> = properties
            .keys()
            .map(String::as_str)
            .filter(|key| !entries.iter().any(|entry| entry.key == *key))
            .collect();
        let mut guessed = Vec::new();
        let here = Place {
            properties: Some(properties),
            ..*place
        };
        for entry in entries {
            match properties.get(&entry.key) {
                Some(schema) => self.visit(schema, &entry.value, &here.below(entry)),
                None => guessed.extend(self.unknown_key(&absent, properties, entry, place)),
            }
        }
        let missing: Vec<&str> = resolved
            .required()
            .filter(|key| absent.contains(key) && !guessed.contains(key))
            .collect();
        if !missing.is_empty() {
            self.missing_keys(&missing, properties, node, place);
        }
    }

    /// Reports `entry` and gives the key that it was probably meant to be.
    fn unknown_key(
        &mut self,
        absent: &[&'a str],
        properties: &'a Map<String, Json>,
        entry: &Entry,
        place: &Place<'a, '_>,
    ) -> Option<&'a str> {
        let key = entry.key.as_str();
        let guess = closest(key, absent.iter().copied());
        let hint = if key == "<<" {
            "YAML 1.2 has no merge keys; write the values out, or define a tier and name it".to_owned()
        } else if let Some(elsewhere) = self.elsewhere(key, properties, place) {
            elsewhere
        } else if let Some(guess) = guess {
            format!("did you mean `{guess}`?")
        } else if let Some(present) = closest(key, properties.keys().map(String::as_str)) {
            format!("did you mean `{present}`, which is already there?")
        } else {
            let shown: Vec<&str> = properties
                .keys()
                .map(String::as_str)
                .take(KEYS_SHOWN_MAX)
                .collect();
            format!("the keys here are {}", and(&shown))
        };
        self.problems.push(
            Diagnostic::error(
                "RC-CFG-005",
                self.source,
                entry.key_span,
                format!("unknown key {}{}", quote(key), place.within()),
            )
            .hint(hint),
        );
        guess
    }

    /// Whether `key` belongs one or more levels up, one level down, or to a neighbour.
    fn elsewhere(
        &mut self,
        key: &str,
        properties: &'a Map<String, Json>,
        place: &Place<'a, '_>,
    ) -> Option<String> {
        if let Some((owner, _)) = place
            .around()
            .find(|(_, properties)| properties.contains_key(key))
        {
            let owner = match owner.path() {
                path if path.is_empty() => "the top level of the file".to_owned(),
                path => quote(&path),
            };
            return Some(format!(
                "{} is a key of {owner}; move it there, with that indentation",
                quote(key)
            ));
        }
        if let Some(parent) = self.holder(key, properties) {
            return Some(format!(
                "{} belongs below `{parent}:`, indented deeper",
                quote(key)
            ));
        }
        let neighbour = place
            .around()
            .find_map(|(_, properties)| self.holder(key, properties))?;
        Some(format!("{} is a key of `{neighbour}`; move it there", quote(key)))
    }

    /// The one of `properties` whose own keys include `key`.
    fn holder(&mut self, key: &str, properties: &'a Map<String, Json>) -> Option<&'a str> {
        let mut holds = |schema| {
            let inner = self.resolve(schema).properties();
            inner.is_some_and(|inner| inner.contains_key(key))
        };
        properties
            .iter()
            .find(|(_, schema)| holds(*schema))
            .map(|(name, _)| name.as_str())
    }

    fn missing_keys(
        &mut self,
        missing: &[&str],
        properties: &'a Map<String, Json>,
        node: &Node,
        place: &Place<'a, '_>,
    ) {
        let words = if missing.len() == 1 {
            "missing key"
        } else {
            "missing keys"
        };
        let hints: Vec<String> = missing
            .iter()
            .filter_map(|key| {
                let resolved = self.resolve(properties.get(*key)?);
                let example = resolved
                    .schema
                    .get("examples")
                    .and_then(|examples| examples[0].as_str());
                let example = example.map(|example| format!(" {example}")).unwrap_or_default();
                let about = about(resolved.about)
                    .map(|about| format!(", {about}"))
                    .unwrap_or_default();
                Some(format!("add `{key}:{example}`{about}"))
            })
            .collect();
        let in_list = place.index.is_some();
        let span = match place.key {
            Some(entry) if !in_list => entry.key_span,
            _ => self.first_line(node.span),
        };
        self.problems.push(
            Diagnostic::error(
                "RC-CFG-006",
                self.source,
                span,
                format!("{words} {}{}", and(missing), place.within()),
            )
            .hint(hints.join("\n")),
        );
    }

    fn check_option(&mut self, options: &[&str], resolved: Resolved<'a>, node: &Node, place: &Place<'a, '_>) {
        let Value::Text(text) = &node.value else {
            if matches!(node.value, Value::Map(_) | Value::List(_) | Value::Null) {
                self.wrong_type(resolved, node, place);
                return;
            }
            let message = format!(
                "{} cannot be {}",
                place.name(),
                quote(self.source.slice(node.span))
            );
            let diagnostic = self.error("RC-CFG-008", node, place, message);
            self.problems.push(diagnostic.hint(one_of(options)));
            return;
        };
        if options.contains(&text.as_str()) {
            return;
        }
        let hint = match closest(text, options.iter().copied()) {
            Some(guess) if guess.eq_ignore_ascii_case(text) => format!("write `{guess}`"),
            Some(guess) => format!("did you mean `{guess}`?"),
            None => one_of(options),
        };
        let message = format!("{} cannot be {}", place.name(), quote(text));
        let diagnostic = self.error("RC-CFG-008", node, place, message);
        self.problems.push(diagnostic.hint(hint));
    }

    fn check_text(&mut self, resolved: Resolved<'a>, text: &str, node: &Node, place: &Place<'a, '_>) {
        let least = resolved
            .schema
            .get("minLength")
            .and_then(Json::as_u64)
            .unwrap_or(0);
        if text.is_empty() && least > 0 {
            let message = format!("{} must not be empty", place.name());
            let diagnostic = self.error("RC-CFG-008", node, place, message);
            self.problems.push(diagnostic);
        } else if let Some(format) = resolved.format().filter(|format| format::is_ours(format)) {
            self.check_format(format, text, node, place);
        }
    }

    fn check_format(&mut self, format: &str, text: &str, node: &Node, place: &Place<'a, '_>) {
        if let Err(malformed) = format::check(format, text) {
            let code = if format == "name" {
                "RC-CFG-010"
            } else {
                "RC-CFG-009"
            };
            let message = format!("malformed {}: {}", place.name(), malformed.message);
            let diagnostic = self.error(code, node, place, message);
            self.problems.push(diagnostic.hint_if(malformed.hint));
        }
    }

    fn wrong_type(&mut self, resolved: Resolved<'a>, node: &Node, place: &Place<'a, '_>) {
        if node.value == Value::Null {
            self.no_value(resolved, node, place);
            return;
        }
        let written = self.source.slice(node.span);
        let scalar = matches!(node.value, Value::Int(_) | Value::Float(_) | Value::Bool(_));
        if let Some(format) = resolved
            .format()
            .filter(|format| scalar && format::is_ours(format))
        {
            let before = self.problems.len();
            self.check_format(format, written, node, place);
            if self.problems.len() > before {
                return;
            }
        }
        let expected = kinds(&resolved.types(), resolved.options().is_some());
        let message = format!("{} must be {expected}, not {}", place.name(), kind(&node.value));
        let required: Vec<&str> = resolved.required().collect();
        let properties: Vec<&str> = resolved
            .properties()
            .map(|properties| properties.keys().map(String::as_str).collect())
            .unwrap_or_default();
        let key = place.key.map_or("", |entry| entry.key.as_str());
        let hint = wrong_type_hint(&resolved.types(), node, written, key, &required, &properties);
        let hint = if place.secret && scalar {
            Some("put it into quotes".to_owned())
        } else if let Some(options) = resolved.options() {
            Some(one_of(&options))
        } else {
            hint.filter(|_| !place.secret)
        };
        let diagnostic = self.error("RC-CFG-007", node, place, message);
        self.problems.push(diagnostic.hint_if(hint));
    }

    fn no_value(&mut self, resolved: Resolved<'a>, node: &Node, place: &Place<'a, '_>) {
        let hint = match self.swallowed(node) {
            Some(comment) if resolved.format() == Some("name") => {
                let name = quote(comment.trim_start_matches('#'));
                format!("everything after ` #` is a comment; write {name}, without the `#`")
            }
            Some(comment) => format!("everything after ` #` is a comment; write \"{comment}\", in quotes"),
            None if resolved.types().contains(&"object") => {
                let key = place.key.map_or("", |entry| entry.key.as_str());
                match resolved.required().next() {
                    None => format!(
                        "write {}, or its keys below it, indented deeper",
                        quote(&format!("{key}: {{}}"))
                    ),
                    Some(_) => "write its keys below it, indented deeper, or remove it".to_owned(),
                }
            }
            None => "write a value after the `:`, or remove the key".to_owned(),
        };
        let message = format!("{} has no value", place.name());
        let expected = format!(
            "expected {}",
            kinds(&resolved.types(), resolved.options().is_some())
        );
        let diagnostic = Diagnostic::error("RC-CFG-007", self.source, node.span, message);
        self.problems.push(diagnostic.label(expected).hint(hint));
    }

    /// `oncall: #core` looks like a value and is none.
    fn warn_of_comment(&mut self, node: &Node, place: &Place<'a, '_>) {
        if let Some(comment) = self.swallowed(node) {
            let message = format!("{} has no value: `{comment}` is a comment", place.name());
            self.problems.push(
                Diagnostic::warning("RC-CFG-018", self.source, node.span, message)
                    .hint(format!("write \"{comment}\", in quotes")),
            );
        }
    }

    /// The comment that stands where the value of a key would, such as `#core`; `# a remark` is none.
    fn swallowed(&self, node: &Node) -> Option<&'a str> {
        let rest = self.source.rest_of_line(node.span.end);
        let comment = rest.trim_start().strip_prefix(':')?.trim_start();
        let word = comment.split([' ', '\t']).next()?;
        (word.len() > 1 && word.starts_with('#') && !word.starts_with("##")).then_some(word)
    }

    /// An error at the value, or at the key of a value that must not be shown.
    fn error(&self, code: &'static str, node: &Node, place: &Place<'a, '_>, message: String) -> Diagnostic {
        let span = self.first_line(node.span);
        match place.key.filter(|_| place.secret) {
            Some(entry) => Diagnostic::error(code, self.source, entry.key_span, message),
            None => Diagnostic::error(code, self.source, span, message),
        }
    }

    fn first_line(&self, span: ByteSpan) -> ByteSpan {
        let text = self.source.slice(span);
        let end = text.find(['\n', '\r']).unwrap_or(text.len());
        ByteSpan::new(span.start, span.start + end)
    }
}
