//! The columns by which a statement looks for rows of a table: a guess from its text that a person reads before
//! anything is made of it.

use crate::trace::{Piece, Token, pieces};

/// What an index for a statement would be made of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Compared with `=`: these come first.
    equal: Vec<String>,
    /// Compared with `<` or `>`: the first of them ends what an index can narrow.
    range: Option<String>,
    /// Sorted by.
    order: Vec<String>,
}

impl Wanted {
    /// What `sql` asks of a table that has `columns`.
    pub(super) fn of(sql: &str, columns: &[String]) -> Self {
        let pieces = pieces(sql);
        let column = |token: Token<'_>| match token {
            Token::Word(name) | Token::Quoted(name) => {
                let plain = name.trim_matches(['"', '`']);
                columns
                    .iter()
                    .find(|column| column.eq_ignore_ascii_case(plain))
                    .cloned()
            }
            Token::Literal | Token::Param(_) | Token::Mark(_) => None,
        };
        let mut wanted = Self::default();
        let mut searching = false;
        for (at, piece) in pieces.iter().enumerate() {
            let token = piece.token;
            if ["where", "on", "and", "or"]
                .iter()
                .any(|word| token.is_word(word))
            {
                searching = true;
            } else if ["set", "values", "select", "group", "order", "limit", "returning"]
                .iter()
                .any(|word| token.is_word(word))
            {
                searching = false;
            }
            if token.is_word("order") && next(&pieces, at).is_some_and(|next| next.is_word("by")) {
                wanted.order.extend(sorted_by(&pieces[at + 2..], column));
            }
            if !searching {
                continue;
            }
            let Some(name) = column(token) else { continue };
            match next(&pieces, at) {
                Some(Token::Mark("=")) => push_new(&mut wanted.equal, name),
                Some(Token::Mark("<" | ">")) => wanted.range = wanted.range.or(Some(name)),
                Some(word) if word.is_word("in") => push_new(&mut wanted.equal, name),
                Some(word) if word.is_word("between") => wanted.range = wanted.range.or(Some(name)),
                _ => {}
            }
        }
        wanted
    }

    /// The columns of the index, in their order; none when no index would narrow anything. `sorts`: the
    /// statement sorts by itself.
    pub(super) fn index(self, sorts: bool) -> Vec<String> {
        let mut columns = self.equal;
        if sorts && self.range.is_none() {
            for name in self.order {
                push_new(&mut columns, name);
            }
        }
        if let Some(name) = self.range {
            push_new(&mut columns, name);
        }
        columns
    }
}

fn next<'s>(pieces: &[Piece<'s>], at: usize) -> Option<Token<'s>> {
    pieces.get(at + 1).map(|piece| piece.token)
}

/// The names of a list behind `ORDER BY`, up to what is no column.
fn sorted_by(pieces: &[Piece<'_>], column: impl Fn(Token<'_>) -> Option<String>) -> Vec<String> {
    let mut names = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        match piece.token {
            Token::Mark("," | ".") => {}
            token if token.is_word("asc") || token.is_word("desc") => {}
            // The alias before a column's name.
            Token::Word(_) if next(pieces, at).is_some_and(|next| next.is_mark(".")) => {}
            token => match column(token) {
                Some(name) => names.push(name),
                None => break,
            },
        }
    }
    names
}

fn push_new(names: &mut Vec<String>, name: String) {
    if !names.contains(&name) {
        names.push(name);
    }
}

/// The table that `name` stands for in `sql`: itself, or what it is the alias of.
pub(super) fn table_of<'t>(sql: &str, name: &str, tables: &'t [String]) -> Option<&'t str> {
    let known = |name: &str| {
        tables
            .iter()
            .map(String::as_str)
            .find(|table| table.eq_ignore_ascii_case(name))
    };
    let words: Vec<&str> = pieces(sql)
        .into_iter()
        .filter_map(|piece| match piece.token {
            Token::Word(word) if !word.eq_ignore_ascii_case("as") => Some(word),
            Token::Quoted(word) => Some(word.trim_matches(['"', '`'])),
            _ => None,
        })
        .collect();
    known(name).or_else(|| {
        words
            .windows(2)
            .filter(|pair| pair[1].eq_ignore_ascii_case(name))
            .find_map(|pair| known(pair[0]))
    })
}
