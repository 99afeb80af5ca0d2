//! Lets questions through and nothing else: the text, before the engine plans it.
//!
//! In:    what somebody typed.
//! Out:   one parsed statement: a query, EXPLAIN, SHOW TABLES or DESCRIBE.
//! Never: lets through what writes, reaches a file, changes a setting, or is so deep that parsing
//!        or planning it would exhaust the stack.
//!
//! Limits: 64 KiB of text, 20,000 tokens, 50 levels of nesting, 1,000 operators, 300 table
//! readings once every WITH part is written out; beyond any of them the question is refused.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, Query, Select, SetExpr, Statement as SqlStatement, TableFactor, Visit,
    Visitor, visit_relations,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::QueryError;

/// Longest text of a question, in bytes.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Most tokens, spaces included.
pub const TOKENS_MAX: usize = 20_000;
/// Deepest nesting of brackets, and the parser's own recursion.
pub const NESTING_MAX: usize = 50;
/// Most operators: a chain of them nests one level each, whatever the brackets.
pub const OPERATORS_MAX: usize = 1_000;
/// Most table readings after WITH parts are written out where they are used.
pub const READINGS_MAX: u64 = 300;

/// Functions that make answers of any size out of nothing, outside every memory account.
pub const NOT_OFFERED: [&str; 9] = [
    "repeat",
    "lpad",
    "rpad",
    "array_repeat",
    "list_repeat",
    "array_resize",
    "list_resize",
    "range",
    "generate_series",
];

/// Functions that may stand in FROM.
const TABLE_FUNCTIONS: [&str; 3] = ["generate_series", "range", "unnest"];

/// The one statement of `text`, if it is a question.
pub fn check(text: &str) -> Result<Statement, QueryError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(QueryError::TooComplex(format!("more than {TEXT_BYTES_MAX} bytes of text")));
    }
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, text)
        .tokenize_with_location()
        .map_err(|error| QueryError::Wrong(format!("not SQL: {error}")))?;
    check_tokens(&tokens)?;
    let mut statements = DFParserBuilder::new(tokens)
        .with_dialect(&dialect)
        .with_recursion_limit(NESTING_MAX)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(QueryError::from)?;
    let first = statements
        .pop_front()
        .ok_or_else(|| QueryError::Wrong("there is no question in the text".to_owned()))?;
    if !statements.is_empty() {
        return Err(QueryError::Refused("one statement at a time".to_owned()));
    }
    check_statement(&first, text)?;
    Ok(first)
}

fn check_tokens(tokens: &[TokenWithSpan]) -> Result<(), QueryError> {
    if tokens.len() > TOKENS_MAX {
        return Err(QueryError::TooComplex(format!("more than {TOKENS_MAX} words and signs")));
    }
    let (mut nesting, mut operators) = (0_usize, 0_usize);
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                nesting += 1;
                operators += usize::from(token.token == Token::LBracket);
            }
            Token::RParen | Token::RBracket | Token::RBrace => nesting = nesting.saturating_sub(1),
            other => operators += usize::from(is_operator(other)),
        }
        if nesting > NESTING_MAX {
            return Err(QueryError::TooComplex(format!("nested deeper than {NESTING_MAX}")));
        }
        if operators > OPERATORS_MAX {
            return Err(QueryError::TooComplex(format!("more than {OPERATORS_MAX} operators")));
        }
    }
    Ok(())
}

/// Whatever may chain without brackets and so nest the tree by one.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::XOR
                | Keyword::IS
                | Keyword::IN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::SIMILAR
                | Keyword::BETWEEN
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::DIV
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::JOIN
                | Keyword::APPLY
                | Keyword::CASE
                | Keyword::INTERVAL
        ),
        Token::EOF
        | Token::Whitespace(_)
        | Token::Comma
        | Token::SemiColon
        | Token::Period
        | Token::Number(..)
        | Token::Char(_)
        | Token::Placeholder(_) => false,
        other => !is_text(other),
    }
}

fn is_text(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::NationalStringLiteral(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::HexStringLiteral(_)
    )
}

fn check_statement(statement: &Statement, text: &str) -> Result<(), QueryError> {
    match statement {
        Statement::Statement(inner) => check_sql(inner, text),
        Statement::Explain(explain) if !matches!(*explain.statement, Statement::Explain(_)) => {
            check_statement(&explain.statement, text)
        }
        _ => Err(not_a_question(text)),
    }
}

fn check_sql(statement: &SqlStatement, text: &str) -> Result<(), QueryError> {
    match statement {
        SqlStatement::Query(query) => check_query(query, text),
        SqlStatement::ShowTables { .. }
        | SqlStatement::ShowColumns { .. }
        | SqlStatement::ExplainTable { .. } => Ok(()),
        _ => Err(not_a_question(text)),
    }
}

fn not_a_question(text: &str) -> QueryError {
    let verb: String = text
        .trim_start_matches(|c: char| c.is_whitespace() || c == '(' || c == ';')
        .chars()
        .take_while(|c| c.is_ascii_alphabetic())
        .take(20)
        .collect();
    let verb = if verb.is_empty() { "this".to_owned() } else { verb.to_ascii_uppercase() };
    QueryError::Refused(format!(
        "{verb} is not answered here: the tables are read-only; ask with SELECT, EXPLAIN, SHOW TABLES or DESCRIBE"
    ))
}

fn check_query(query: &Query, text: &str) -> Result<(), QueryError> {
    let mut watch = Watch { text };
    if let ControlFlow::Break(refused) = query.visit(&mut watch) {
        return Err(refused);
    }
    let readings = readings(query);
    if readings > READINGS_MAX {
        return Err(QueryError::TooComplex(format!(
            "its tables are read more than {READINGS_MAX} times once its WITH parts are written out"
        )));
    }
    Ok(())
}

struct Watch<'a> {
    text: &'a str,
}

impl Visitor for Watch<'_> {
    type Break = QueryError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        if writes(&query.body) || !query.locks.is_empty() {
            return ControlFlow::Break(not_a_question("SELECT that writes or locks"));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<QueryError> {
        if select.into.is_some() {
            return ControlFlow::Break(QueryError::Refused(
                "SELECT INTO is not answered here: the tables are read-only".to_owned(),
            ));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &SqlStatement) -> ControlFlow<QueryError> {
        match statement {
            SqlStatement::Query(_) => ControlFlow::Continue(()),
            _ => ControlFlow::Break(not_a_question(self.text)),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<QueryError> {
        let refused = match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                unknown_table_function(name)
            }
            TableFactor::Table { name, args: None, .. } => file_as_table(name),
            _ => None,
        };
        refused.map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<QueryError> {
        if let Expr::Function(function) = expr {
            let name = last_part(&function.name);
            if NOT_OFFERED.contains(&name.as_str()) {
                return ControlFlow::Break(QueryError::Refused(format!(
                    "the function {name} is not offered: it can make an answer of any size out of nothing"
                )));
            }
        }
        ControlFlow::Continue(())
    }
}

fn writes(body: &SetExpr) -> bool {
    matches!(body, SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_))
}

fn unknown_table_function(name: &ObjectName) -> Option<QueryError> {
    let name = last_part(name);
    if TABLE_FUNCTIONS.contains(&name.as_str()) {
        return None;
    }
    Some(QueryError::Refused(format!(
        "there is no table function {name} here: no file or address can be read; SHOW TABLES lists the tables"
    )))
}

fn file_as_table(name: &ObjectName) -> Option<QueryError> {
    let quoted_text = name
        .0
        .iter()
        .filter_map(|part| part.as_ident())
        .any(|ident| ident.quote_style == Some('\'') || ident.value.contains('/'));
    quoted_text.then(|| {
        QueryError::Refused(
            "no file or address can be read as a table; SHOW TABLES lists the tables".to_owned(),
        )
    })
}

fn last_part(name: &ObjectName) -> String {
    name.0
        .last()
        .and_then(|part| part.as_ident())
        .map(|ident| ident.value.to_ascii_lowercase())
        .unwrap_or_default()
}

/// The names that a question reads, lower-cased, without their schema.
pub fn relations(statement: &Statement) -> Vec<String> {
    match statement {
        Statement::Statement(inner) => match inner.as_ref() {
            SqlStatement::Query(query) => relations_of(query),
            // SHOW and DESCRIBE read no rows, but the schema of whatever they name.
            other => {
                let mut names = Vec::new();
                let _ = visit_relations(other, |name| {
                    names.push(last_part(name));
                    ControlFlow::<()>::Continue(())
                });
                names
            }
        },
        Statement::Explain(explain) => relations(&explain.statement),
        _ => Vec::new(),
    }
}

/// How often tables are read once every WITH part is written out where it is used.
///
/// An upper bound: parts of one name in several places count as the largest of them.
fn readings(query: &Query) -> u64 {
    let mut parts = Parts::default();
    let _ = query.visit(&mut parts);
    let mut sizes: HashMap<&str, u64> = HashMap::new();
    for _ in 0..=parts.0.len() {
        let mut grew = false;
        for (name, relations) in &parts.0 {
            let size = relations
                .iter()
                .filter(|relation| relation != &name)
                .map(|relation| sizes.get(relation.as_str()).copied().unwrap_or(1))
                .fold(0_u64, u64::saturating_add)
                .clamp(1, READINGS_MAX + 1);
            let known = sizes.entry(name.as_str()).or_insert(1);
            if size > *known {
                *known = size;
                grew = true;
            }
        }
        if !grew {
            break;
        }
    }
    relations_of(query)
        .iter()
        .map(|relation| sizes.get(relation.as_str()).copied().unwrap_or(1))
        .fold(0, u64::saturating_add)
}

/// Every WITH part of a query at any depth, with the names it reads.
#[derive(Default)]
struct Parts(Vec<(String, Vec<String>)>);

impl Visitor for Parts {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for part in query.with.iter().flat_map(|with| &with.cte_tables) {
            let name = part.alias.name.value.to_ascii_lowercase();
            self.0.push((name, relations_of(&part.query)));
        }
        ControlFlow::Continue(())
    }
}

fn relations_of(query: &Query) -> Vec<String> {
    let mut names = Vec::new();
    let _ = visit_relations(query, |name| {
        names.push(last_part(name));
        ControlFlow::<()>::Continue(())
    });
    names
}

#[cfg(test)]
mod tests;
