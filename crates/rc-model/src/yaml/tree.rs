//! From the parser's events to the tree, without recursion, under limits.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::{ALIAS_NODES_MAX, DEPTH_MAX, Entry, Node, PROBLEMS_MAX, Value, scalar, syntax};
use crate::source::{ByteSpan, Diagnostic, SourceFile, quote};

/// Reads the one document of `source`.
pub(super) fn build(source: &Arc<SourceFile>) -> Result<Node, Vec<Diagnostic>> {
    let mut builder = Builder {
        source,
        offsets: Offsets::of(source.text()),
        open: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        copied: 0,
        problems: Vec::new(),
    };
    let mut documents = 0_usize;
    for event in Parser::new_from_str(source.text()) {
        let step = event
            .map_err(|error| {
                let offset = builder.offsets.byte(error.marker().index());
                Box::new(syntax::explain(
                    source,
                    offset,
                    builder.open_bracket(),
                    error.info(),
                ))
            })
            .and_then(|(event, span)| {
                if matches!(event, Event::DocumentStart(_)) {
                    documents += 1;
                }
                if documents > 1 {
                    return Err(Box::new(second_document(source, builder.span(span))));
                }
                builder.on_event(event, span)
            });
        if let Err(fatal) = step {
            builder.problems.push(*fatal);
            break;
        }
    }
    if !builder.problems.is_empty() {
        builder.problems.truncate(PROBLEMS_MAX);
        return Err(builder.problems);
    }
    Ok(builder.root.unwrap_or_default())
}

fn second_document(source: &Arc<SourceFile>, span: ByteSpan) -> Diagnostic {
    Diagnostic::error("RC-CFG-003", source, span, "a second document starts here")
        .label("one file holds one document")
        .hint("remove the `---`, or move the rest into its own file")
}

pub(super) fn too_deep(source: &Arc<SourceFile>, span: ByteSpan) -> Diagnostic {
    Diagnostic::error(
        "RC-CFG-002",
        source,
        span,
        format!("nested deeper than {DEPTH_MAX} levels"),
    )
    .hint("no file of ours is that deep; is a bracket repeated?")
}

/// From so many keys on, a mapping is searched by an index. Nearly all mappings of our files are smaller.
const INDEXED_MIN: usize = 16;

/// A mapping or list that is not closed yet.
struct Open {
    anchor: usize,
    start: usize,
    /// Nodes inside, and one more for each 32 bytes of text.
    weight: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// The keys of a mapping with [`INDEXED_MIN`] or more; fewer are looked through.
        seen: HashMap<String, ByteSpan>,
        /// The key whose value comes next; `None` inside when the entry is dropped.
        key: Option<Key>,
    },
}

struct Key {
    text: String,
    span: ByteSpan,
    /// Whether the entry was refused already, so that its value is read and forgotten.
    dropped: bool,
}

struct Builder<'s> {
    source: &'s Arc<SourceFile>,
    offsets: Offsets,
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, (Node, usize)>,
    /// What anchors and aliases have copied so far, in weight.
    copied: usize,
    problems: Vec<Diagnostic>,
}

impl Builder<'_> {
    fn span(&self, span: Span) -> ByteSpan {
        ByteSpan::new(
            self.offsets.byte(span.start.index()),
            self.offsets.byte(span.end.index()),
        )
    }

    /// An `Err` ends the reading; other problems are collected.
    fn on_event(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Diagnostic>> {
        let span = self.span(span);
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Scalar(text, style, anchor, tag) => {
                self.on_scalar(&text, style, anchor, tag.as_deref(), span)
            }
            Event::Alias(anchor) => self.on_alias(anchor, span),
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", span);
                self.begin(anchor, span, Kind::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", span);
                let kind = Kind::Map {
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    key: None,
                };
                self.begin(anchor, span, kind)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
        }
    }

    fn begin(&mut self, anchor: usize, span: ByteSpan, kind: Kind) -> Result<(), Box<Diagnostic>> {
        if self.open.len() == DEPTH_MAX {
            return Err(Box::new(too_deep(self.source, self.first_char(span))));
        }
        if self.awaits_key() {
            let span = self.first_char(span);
            return Err(Box::new(
                Diagnostic::error(
                    "RC-CFG-003",
                    self.source,
                    span,
                    "a key must be a text, not a list or mapping",
                )
                .hint("a text that starts with a bracket needs quotes"),
            ));
        }
        self.open.push(Open {
            anchor,
            start: span.start,
            weight: 1,
            kind,
        });
        Ok(())
    }

    fn end(&mut self, span: ByteSpan) -> Result<(), Box<Diagnostic>> {
        let open = self.open.pop().expect("the parser closes only what it opened");
        let whole = ByteSpan::new(open.start, span.end);
        let text = self.source.slice(whole);
        let node = Node {
            span: ByteSpan::new(open.start, open.start + text.trim_end().len()),
            value: match open.kind {
                Kind::List(items) => Value::List(items),
                Kind::Map { entries, .. } => Value::Map(entries),
            },
        };
        self.finish(node, open.weight, open.anchor)
    }

    fn on_scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: ByteSpan,
    ) -> Result<(), Box<Diagnostic>> {
        let written = written(self.source.slice(span), style);
        let mut span = ByteSpan::new(span.start, span.start + written);
        if self.awaits_key() {
            return self.on_key(text, style, anchor, span);
        }
        if span.is_empty() {
            span = self.key_span().unwrap_or(span);
        }
        let plain = style == ScalarStyle::Plain;
        let value = match tag {
            None if plain => scalar::resolve(text),
            None => Value::Text(text.to_owned()),
            Some(tag) => self.tagged(tag, text, span),
        };
        self.finish(Node { span, value }, 1 + text.len() / 32, anchor)
    }

    /// The meaning of `text` under an explicit tag.
    fn tagged(&mut self, tag: &Tag, text: &str, span: ByteSpan) -> Value {
        let resolved = scalar::resolve(text);
        let wanted = if tag.is_yaml_core_schema() {
            tag.suffix.as_str()
        } else {
            ""
        };
        let fits = match (wanted, &resolved) {
            ("str", _) => return Value::Text(text.to_owned()),
            ("null", Value::Null)
            | ("bool", Value::Bool(_))
            | ("int", Value::Int(_))
            | ("float", Value::Float(_)) => true,
            ("float", Value::Int(number)) => return Value::Float(*number as f64),
            // The non-specific tag `!` makes a text of it.
            _ if tag.handle.is_empty() && tag.suffix == "!" || tag.handle == "!" && tag.suffix.is_empty() => {
                return Value::Text(text.to_owned());
            }
            _ => false,
        };
        if !fits {
            self.problems.push(
                Diagnostic::error(
                    "RC-CFG-008",
                    self.source,
                    span,
                    format!("the tag {} does not fit here", quote(&shown(tag))),
                )
                .hint("remove the tag; a value in quotes is a text, the rest follows from how it looks"),
            );
        }
        resolved
    }

    fn check_tag(&mut self, tag: Option<&Tag>, wanted: &str, span: ByteSpan) {
        if let Some(tag) = tag.filter(|tag| !(tag.is_yaml_core_schema() && tag.suffix == wanted)) {
            let span = self.first_char(span);
            self.problems.push(
                Diagnostic::error(
                    "RC-CFG-008",
                    self.source,
                    span,
                    format!("the tag {} does not fit here", quote(&shown(tag))),
                )
                .hint("remove the tag"),
            );
        }
    }

    fn on_key(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        span: ByteSpan,
    ) -> Result<(), Box<Diagnostic>> {
        let empty = text.is_empty() && style == ScalarStyle::Plain;
        if empty {
            self.refuse_key(span, "a key is missing before this `:`");
            return Ok(());
        }
        if anchor != 0 {
            self.refuse_key(span, "a key must not carry an anchor");
            return Ok(());
        }
        let Some(Open {
            kind: Kind::Map { entries, seen, key },
            ..
        }) = self.open.last_mut()
        else {
            return Ok(());
        };
        let first = first_of(text, entries, seen);
        *key = Some(Key {
            text: text.to_owned(),
            span,
            dropped: first.is_some(),
        });
        if let Some(first) = first {
            self.problems.push(
                Diagnostic::error(
                    "RC-CFG-004",
                    self.source,
                    span,
                    format!("the key {} is there twice", quote(text)),
                )
                .label("again here")
                .note(self.source, first, "first here")
                .hint("keep one of the two; which one counts must not be a guess"),
            );
        }
        Ok(())
    }

    /// Reports a key that cannot be one; its value will be forgotten.
    fn refuse_key(&mut self, span: ByteSpan, why: &str) {
        let span = self.first_char(span);
        self.problems.push(
            Diagnostic::error("RC-CFG-003", self.source, span, why)
                .hint("write a name, a `:` and a space, then the value"),
        );
        if let Some(Open {
            kind: Kind::Map { key, .. },
            ..
        }) = self.open.last_mut()
        {
            *key = Some(Key {
                text: String::new(),
                span,
                dropped: true,
            });
        }
    }

    fn on_alias(&mut self, anchor: usize, span: ByteSpan) -> Result<(), Box<Diagnostic>> {
        if self.awaits_key() {
            self.refuse_key(span, "a key must be a text, not an alias");
            return Ok(());
        }
        let Some((node, weight)) = self.anchors.get(&anchor) else {
            return Err(Box::new(Diagnostic::error(
                "RC-CFG-003",
                self.source,
                span,
                "the alias stands inside of what it stands for",
            )));
        };
        let weight = *weight;
        // Checked before the copy is made, so that a bomb costs nothing.
        if self.copied + weight > ALIAS_NODES_MAX {
            return Err(Box::new(self.too_much_copied(span)));
        }
        self.copied += weight;
        // What is wrong with the copy is shown where it is used; the anchor's own place was checked there.
        let mut node = node.clone();
        node.span = span;
        self.finish(node, weight, 0)
    }

    fn too_much_copied(&self, span: ByteSpan) -> Diagnostic {
        Diagnostic::error(
            "RC-CFG-002",
            self.source,
            self.first_char(span),
            format!("anchors and aliases repeat more than {ALIAS_NODES_MAX} values"),
        )
        .hint("write the values out, or define a tier and name it")
    }

    /// Puts a complete node where it belongs.
    fn finish(&mut self, node: Node, weight: usize, anchor: usize) -> Result<(), Box<Diagnostic>> {
        if anchor != 0 {
            if self.copied + weight > ALIAS_NODES_MAX {
                return Err(Box::new(self.too_much_copied(node.span)));
            }
            self.copied += weight;
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.weight += weight;
        match &mut open.kind {
            Kind::List(items) => items.push(node),
            Kind::Map { entries, key, .. } => {
                let key = key.take().expect("a value comes after its key");
                if !key.dropped {
                    entries.push(Entry {
                        key: key.text,
                        key_span: key.span,
                        value: node,
                    });
                }
            }
        }
        Ok(())
    }

    /// Where the innermost `[` or `{` that is not closed yet stands.
    fn open_bracket(&self) -> Option<usize> {
        let start = self.open.last()?.start;
        self.source.text()[start..]
            .starts_with(['[', '{'])
            .then_some(start)
    }

    /// Whether the next node is a key.
    fn awaits_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                kind: Kind::Map { key: None, .. },
                ..
            })
        )
    }

    fn key_span(&self) -> Option<ByteSpan> {
        match &self.open.last()?.kind {
            Kind::Map { key, .. } => key.as_ref().map(|key| key.span),
            Kind::List(_) => None,
        }
    }

    fn first_char(&self, span: ByteSpan) -> ByteSpan {
        let width = self.source.text()[self.source.text().floor_char_boundary(span.start)..]
            .chars()
            .next()
            .map_or(0, char::len_utf8);
        ByteSpan::new(span.start, span.start + width)
    }
}

/// Where `text` is a key of the mapping already.
fn first_of(text: &str, entries: &[Entry], seen: &mut HashMap<String, ByteSpan>) -> Option<ByteSpan> {
    if entries.len() < INDEXED_MIN {
        let mut before = entries.iter();
        return before.find(|entry| entry.key == text).map(|entry| entry.key_span);
    }
    // Entries that came since the last look; a key that was dropped is not among them.
    for entry in &entries[seen.len()..] {
        seen.insert(entry.key.clone(), entry.key_span);
    }
    seen.get(text).copied()
}

/// How much of `text` is the scalar: the parser counts blanks and remarks after a closing quote in.
fn written(text: &str, style: ScalarStyle) -> usize {
    let quote = match style {
        ScalarStyle::SingleQuoted => '\'',
        ScalarStyle::DoubleQuoted => '"',
        ScalarStyle::Plain | ScalarStyle::Literal | ScalarStyle::Folded => return text.trim_end().len(),
    };
    let open = text.find(quote).map_or(text.len(), |at| at + 1);
    let mut rest = text[open..].char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        if c == '\\' && quote == '"' {
            rest.next();
        } else if c == quote {
            // Two single quotes in a single-quoted text are one.
            if quote == '\'' && rest.next_if(|(_, next)| *next == quote).is_some() {
                continue;
            }
            return open + at + 1;
        }
    }
    text.trim_end().len()
}

fn shown(tag: &Tag) -> String {
    if tag.is_yaml_core_schema() {
        format!("!!{}", tag.suffix)
    } else {
        format!("{}{}", tag.handle, tag.suffix)
    }
}

/// The parser counts characters; everything else here counts bytes.
enum Offsets {
    /// One byte a character.
    Ascii { len: usize },
    /// The byte offset of every [`OFFSETS_STRIDE`]th character.
    Sampled { text: Arc<str>, samples: Vec<usize> },
}

const OFFSETS_STRIDE: usize = 64;

impl Offsets {
    fn of(text: &str) -> Self {
        if text.is_ascii() {
            return Self::Ascii { len: text.len() };
        }
        let samples = text
            .char_indices()
            .step_by(OFFSETS_STRIDE)
            .map(|(offset, _)| offset);
        Self::Sampled {
            samples: samples.collect(),
            text: Arc::from(text),
        }
    }

    /// The byte at which the character `index` starts; the end for an index beyond it.
    fn byte(&self, index: usize) -> usize {
        match self {
            Self::Ascii { len } => index.min(*len),
            Self::Sampled { text, samples } => {
                let Some(start) = samples.get(index / OFFSETS_STRIDE) else {
                    return text.len();
                };
                text[*start..]
                    .char_indices()
                    .nth(index % OFFSETS_STRIDE)
                    .map_or(text.len(), |(offset, _)| start + offset)
            }
        }
    }
}
