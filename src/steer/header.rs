//! Reads the headers that a program shares with its loader, for the tests that hold one against the other. They keep to
//! `#define NAME decimal`, enums, and structs of plain fields.
//!
//! What is not here: a C compiler. What it does not understand fails the test.

use std::collections::BTreeMap;

/// The text of a header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header(pub &'static str);

impl Header {
    /// The header without its comments.
    fn code(self) -> String {
        let mut code = String::new();
        let mut rest = self.0;
        while let Some((before, comment)) = rest.split_once("/*") {
            code.push_str(before);
            rest = comment.split_once("*/").expect("a comment that ends").1;
        }
        code + rest
    }

    /// What stands between the braces behind `opening`.
    fn body(self, opening: &str) -> String {
        let code = self.code();
        let (_, rest) = code.split_once(&format!("{opening} {{")).expect("the header declares it");
        rest.split_once('}').expect("a closing brace").0.to_owned()
    }

    /// Fields of a struct as (name, size in bytes); none is padded, or this fails.
    pub fn fields(self, name: &str) -> Vec<(String, usize)> {
        self.layout(name).into_iter().map(|(name, _, size)| (name, size)).collect()
    }

    /// The same as (name, offset, size in bytes).
    pub fn layout(self, name: &str) -> Vec<(String, usize, usize)> {
        let mut offset = 0;
        let field = |declaration: &str| {
            let (kind, name) = declaration.trim().split_once(' ')?;
            let bytes = kind.strip_prefix("__u").expect("a plain field").parse::<usize>().expect("bits") / 8;
            let (name, count) = name.split_once('[').unwrap_or((name, "1]"));
            let size = bytes * count.trim_end_matches(']').parse::<usize>().expect("a decimal length");
            assert_eq!(offset % bytes, 0, "{name} would be padded");
            offset += size;
            Some((name.to_owned(), offset - size, size))
        };
        self.body(&format!("struct {name}")).split(';').filter_map(field).collect()
    }

    /// The names of an enum, in order.
    pub fn names(self, opening: &str) -> Vec<String> {
        self.body(opening).split(',').map(|name| name.trim().to_owned()).collect()
    }

    /// The constants.
    pub fn defines(self) -> BTreeMap<String, u64> {
        let define = |line: &str| {
            let mut words = line.strip_prefix("#define ")?.split_whitespace();
            let (name, value) = (words.next()?, words.next()?);
            Some((name.to_owned(), value.parse::<u64>().expect("a decimal value")))
        };
        self.code().lines().filter_map(define).collect()
    }
}
