//! Numbers against their bounds.

use serde_json::Value as Json;

use super::{Checker, Place, Resolved, format};
use crate::source::quote;
use crate::yaml::{Node, Value};

impl<'a> Checker<'a> {
    pub(super) fn check_integer(
        &mut self,
        resolved: Resolved<'a>,
        number: i128,
        node: &Node,
        place: &Place<'a, '_>,
    ) {
        if let Some(format) = resolved.format().filter(|format| format::is_ours(format)) {
            self.check_format(format, &number.to_string(), node, place);
            return;
        }
        let bound = |name: &str| {
            let bound = resolved.schema.get(name)?;
            bound
                .as_i64()
                .map(i128::from)
                .or_else(|| bound.as_u64().map(i128::from))
        };
        let (least, most) = (bound("minimum"), bound("maximum"));
        if least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most) {
            return;
        }
        let range = match (least, most) {
            (Some(least), Some(most)) => format!("from {least} to {most}"),
            (Some(least), None) => format!("at least {least}"),
            (None, most) => format!("at most {}", most.unwrap_or(i128::MAX)),
        };
        self.out_of_range(&range, node, place);
    }

    /// A number with a fraction, or without one where one may be.
    pub(super) fn check_number(&mut self, resolved: Resolved<'a>, node: &Node, place: &Place<'a, '_>) {
        let number = match node.value {
            Value::Int(number) => number as f64,
            Value::Float(number) => number,
            _ => return,
        };
        let bound = |name: &str| resolved.schema.get(name).and_then(Json::as_f64);
        let (least, most) = (
            bound("minimum").unwrap_or(f64::MIN),
            bound("maximum").unwrap_or(f64::MAX),
        );
        // Neither holds of what is no number.
        if !(number >= least && number <= most) {
            self.out_of_range(&format!("from {least} to {most}"), node, place);
        }
    }

    fn out_of_range(&mut self, range: &str, node: &Node, place: &Place<'a, '_>) {
        let found = if place.secret {
            String::new()
        } else {
            format!(", not {}", quote(self.source.slice(node.span)))
        };
        let message = format!("{} must be {range}{found}", place.name());
        let diagnostic = self.error("RC-CFG-008", node, place, message);
        self.problems.push(diagnostic.label("out of range"));
    }
}
