//! A JSON reader that checks the whole syntax (RFC 8259) and interprets only what it is asked for.
//!
//! The contract ignores unknown fields *whatever they hold*: nesting a hundred thousand deep, `1e999`, a lone surrogate. A
//! general parser refuses some of these (its recursion limit, its number range), and it tells duplicates of a field only
//! after it has thrown one away. This one gives every field as it stands, borrowed, in one pass.

use bumpalo::Bump;
use smallvec::SmallVec;

/// Where a text stops being JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// Byte position in the text.
    pub(super) position: usize,
    /// What had to stand there.
    pub(super) expected: &'static str,
}

/// One value: scalars as they are, arrays and objects as their checked text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    /// The digits as they stand; a valid JSON number of any size.
    Number(&'a str),
    String(RawString<'a>),
    Array(&'a str),
    Object(&'a str),
}

impl Value<'_> {
    /// What to call it in a message.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// What stands between the quotes of a string, escapes unresolved but checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RawString<'a> {
    text: &'a str,
    escaped: bool,
}

impl<'a> RawString<'a> {
    /// The string's value: borrowed from the text, or from the arena where it has escapes. `None` where a `\u` escape
    /// is half of a surrogate pair, which no string of Unicode characters can hold.
    pub(super) fn resolve(self, arena: &'a Bump) -> Option<&'a str> {
        if self.escaped { unescape(self.text, arena) } else { Some(self.text) }
    }
}

/// The members of one object, in the order they stand.
pub(super) struct Object<'a> {
    scanner: Scanner<'a>,
    is_first: bool,
}

impl<'a> Object<'a> {
    /// Starts reading `text`, which must be one object and white space; `None` where it starts as something else.
    pub(super) fn open(text: &'a str) -> Option<Self> {
        let mut scanner = Scanner { text, position: 0 };
        scanner.skip_space();
        scanner.take(b'{').then_some(Self { scanner, is_first: true })
    }

    /// The next member, or `None` once the object is closed and nothing follows it.
    #[inline(always)]
    pub(super) fn next_member(&mut self) -> Result<Option<(RawString<'a>, Value<'a>)>, SyntaxError> {
        self.scanner.skip_space();
        if self.scanner.take(b'}') {
            self.scanner.end()?;
            return Ok(None);
        }
        if !std::mem::take(&mut self.is_first) {
            self.scanner.expect(b',', "a comma or the end of the object")?;
        }
        let key = self.scanner.key()?;
        let value = self.scanner.value()?;
        Ok(Some((key, value)))
    }
}

/// The elements of one array, in order.
pub(super) struct Array<'a> {
    scanner: Scanner<'a>,
    is_first: bool,
}

impl<'a> Array<'a> {
    /// Starts reading the text of a [`Value::Array`].
    pub(super) fn open(text: &'a str) -> Self {
        Self { scanner: Scanner { text, position: 1 }, is_first: true }
    }

    /// The next element, or `None` at the end.
    pub(super) fn next_element(&mut self) -> Result<Option<Value<'a>>, SyntaxError> {
        self.scanner.skip_space();
        if self.scanner.take(b']') {
            return Ok(None);
        }
        if !std::mem::take(&mut self.is_first) {
            self.scanner.expect(b',', "a comma or the end of the array")?;
        }
        self.scanner.value().map(Some)
    }
}

/// Its steps are inlined by force: a fifth faster than what the compiler chooses for records of 170 bytes.
struct Scanner<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Scanner<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.position += usize::from(is_next);
        is_next
    }

    #[inline]
    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), SyntaxError> {
        if self.take(byte) { Ok(()) } else { self.fail(expected) }
    }

    #[cold]
    fn fail<T>(&self, expected: &'static str) -> Result<T, SyntaxError> {
        Err(SyntaxError { position: self.position, expected })
    }

    #[inline]
    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.position).unwrap_or_default()
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.position += 1;
        }
    }

    fn end(&mut self) -> Result<(), SyntaxError> {
        self.skip_space();
        if self.position == self.text.len() { Ok(()) } else { self.fail("the end of the record") }
    }

    /// A member's name and its colon.
    #[inline(always)]
    fn key(&mut self) -> Result<RawString<'a>, SyntaxError> {
        self.skip_space();
        self.expect(b'"', "a field name in quotes")?;
        let key = self.string()?;
        self.skip_space();
        self.expect(b':', "a colon")?;
        Ok(key)
    }

    #[inline(always)]
    fn value(&mut self) -> Result<Value<'a>, SyntaxError> {
        self.skip_space();
        let start = self.position;
        match self.peek() {
            Some(b'{') => {
                self.skip_container()?;
                Ok(Value::Object(self.since(start)))
            }
            Some(b'[') => {
                self.skip_container()?;
                Ok(Value::Array(self.since(start)))
            }
            _ => self.scalar(),
        }
    }

    #[inline(always)]
    fn scalar(&mut self) -> Result<Value<'a>, SyntaxError> {
        match self.peek() {
            Some(b'"') => {
                self.position += 1;
                self.string().map(Value::String)
            }
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b't') => self.literal("true", Value::Bool(true)),
            Some(b'f') => self.literal("false", Value::Bool(false)),
            Some(b'n') => self.literal("null", Value::Null),
            _ => self.fail("a value"),
        }
    }

    fn literal(&mut self, word: &'static str, value: Value<'a>) -> Result<Value<'a>, SyntaxError> {
        let rest = self.text.as_bytes().get(self.position..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return self.fail("a value");
        }
        self.position += word.len();
        Ok(value)
    }

    #[inline]
    fn number(&mut self) -> Result<&'a str, SyntaxError> {
        let start = self.position;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.position += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.position += 1;
            }
            self.digits()?;
        }
        Ok(self.since(start))
    }

    #[inline]
    fn digits(&mut self) -> Result<(), SyntaxError> {
        let start = self.position;
        while let Some(b'0'..=b'9') = self.peek() {
            self.position += 1;
        }
        if self.position == start { self.fail("a digit") } else { Ok(()) }
    }

    /// The rest of a string whose opening quote is taken.
    #[inline(always)]
    fn string(&mut self) -> Result<RawString<'a>, SyntaxError> {
        let start = self.position;
        let mut escaped = false;
        loop {
            self.position += plain_prefix(self.text.as_bytes().get(self.position..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    let text = self.since(start);
                    self.position += 1;
                    return Ok(RawString { text, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.position += 1;
                    self.escape()?;
                }
                Some(_) => return self.fail("control characters escaped"),
                None => return self.fail("the end of a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), SyntaxError> {
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.position += 1,
            Some(b'u') => {
                self.position += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return self.fail("four hexadecimal digits");
                    }
                    self.position += 1;
                }
            }
            _ => return self.fail("an escape of JSON"),
        }
        Ok(())
    }

    /// Checks an array or object to its end. Keeps the open ones in a list and not on the call stack: half a mebibyte
    /// of brackets would overflow it.
    fn skip_container(&mut self) -> Result<(), SyntaxError> {
        let mut closers: SmallVec<[u8; 32]> = SmallVec::new();
        loop {
            self.skip_space();
            if self.take(b'{') {
                self.skip_space();
                if !self.take(b'}') {
                    closers.push(b'}');
                    self.key()?;
                    continue;
                }
            } else if self.take(b'[') {
                self.skip_space();
                if !self.take(b']') {
                    closers.push(b']');
                    continue;
                }
            } else {
                self.scalar()?;
            }

            // A value is complete: close all that ends with it, up to the comma that announces the next one.
            loop {
                let Some(&closer) = closers.last() else { return Ok(()) };
                self.skip_space();
                if self.take(closer) {
                    closers.pop();
                    continue;
                }
                self.expect(b',', "a comma or the closing bracket")?;
                if closer == b'}' {
                    self.key()?;
                }
                break;
            }
        }
    }
}

/// How many bytes from the start are neither a quote, nor a backslash, nor a control character; eight at a time.
#[inline]
fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The lowest marked byte is exact; borrows only spoil the ones above it.
    const fn below(word: u64, limit: u64) -> u64 {
        word.wrapping_sub(ONES * limit) & !word & HIGHS
    }

    let mut length = 0;
    while let Some(chunk) = bytes.get(length..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quotes = below(word ^ (ONES * b'"' as u64), 1);
        let backslashes = below(word ^ (ONES * b'\\' as u64), 1);
        let special = quotes | backslashes | below(word, 0x20);
        if special != 0 {
            return length + special.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let tail = bytes.get(length..).unwrap_or_default();
    length + tail.iter().take_while(|&&byte| byte >= 0x20 && byte != b'"' && byte != b'\\').count()
}

/// Resolves checked escapes into the arena; `None` at a lone surrogate.
fn unescape<'a>(text: &str, arena: &'a Bump) -> Option<&'a str> {
    let mut resolved = bumpalo::collections::String::with_capacity_in(text.len(), arena);
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        resolved.push_str(plain);
        let (kind, after) = escape.split_at_checked(1)?;
        rest = after;
        resolved.push(match kind {
            "b" => '\u{8}',
            "f" => '\u{c}',
            "n" => '\n',
            "r" => '\r',
            "t" => '\t',
            "u" => {
                let (character, after) = unicode_escape(after)?;
                rest = after;
                character
            }
            quoted => quoted.chars().next()?,
        });
    }
    resolved.push_str(rest);
    Some(resolved.into_bump_str())
}

/// The character of the hexadecimal digits at the start of `text`, with the second half of its surrogate pair.
fn unicode_escape(text: &str) -> Option<(char, &str)> {
    let (first, rest) = code_unit(text)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, rest)); // no character for the second half of a pair
    }
    let (second, rest) = code_unit(rest.strip_prefix("\\u")?)?;
    let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
    Some((char::from_u32(0x10000 + ((first - 0xd800) << 10) + low)?, rest))
}

fn code_unit(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    Some((u32::from_str_radix(digits, 16).ok()?, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn is_object(text: &str) -> Result<(), SyntaxError> {
        let mut object = Object::open(text).ok_or(SyntaxError { position: 0, expected: "an object" })?;
        while object.next_member()?.is_some() {}
        Ok(())
    }

    fn resolved(text: &str) -> Option<String> {
        let arena = Bump::new();
        let document = format!("{{\"k\":\"{text}\"}}");
        match Object::open(&document).unwrap().next_member().unwrap().unwrap().1 {
            Value::String(string) => string.resolve(&arena).map(str::to_owned),
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn accepts_what_the_grammar_allows_whatever_its_size() {
        for text in [
            "{}",
            " \t\r\n{ } ",
            r#"{"a":1,"a":[{},[],{"b":[null,true,false,"\u12aF\"\\\/\b\f\n\r\t"]}]}"#,
            r#"{"a":-0.0e+00,"b":1e999,"c":123456789012345678901234567890}"#,
            "{\"a\":\"\u{7f}\u{feff}\"}",
            r#"{"a":"\ud800"}"#,
        ] {
            assert_eq!(is_object(text), Ok(()), "{text}");
        }
        let deep = 250_000;
        assert_eq!(is_object(&format!("{{\"a\":{}{}}}", "[".repeat(deep), "]".repeat(deep))), Ok(()));
    }

    #[test]
    fn refuses_what_the_grammar_does_not_allow() {
        for text in [
            "",
            "[]",
            "{",
            "{}x",
            "{} {}",
            "{,}",
            r#"{"a":1,}"#,
            r#"{"a" 1}"#,
            r#"{"a":}"#,
            r#"{"a":01}"#,
            r#"{"a":+1}"#,
            r#"{"a":1.}"#,
            r#"{"a":.5}"#,
            r#"{"a":1e}"#,
            r#"{"a":NaN}"#,
            r#"{"a":Infinity}"#,
            r#"{"a":nul}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":"\u12g4"}"#,
            r#"{"a":"}"#,
            "{\"a\":\"line\nbreak\"}",
            r#"{"a":[1,]}"#,
            r#"{"a":[1}}"#,
            r#"{"a":{"b"}}"#,
            r#"{"a":{"b":1,}}"#,
            r#"{a:1}"#,
            r#"{'a':1}"#,
            "{\"a\":1}\u{0}",
            "\u{feff}{}",
        ] {
            assert!(is_object(text).is_err(), "{text}");
        }
    }

    #[test]
    fn escapes_resolve_and_half_a_surrogate_pair_does_not() {
        assert_eq!(resolved(r#"a\"\\\/\b\f\n\r\té"#).unwrap(), "a\"\\/\u{8}\u{c}\n\r\té");
        assert_eq!(resolved(r"\u0041\uD83D\ude00z").unwrap(), "A😀z");
        for lone in [r"\ud800", r"\udc00", r"\ud800x", r"\ud800\n", r"\ud800\ud800", r"\ude00\ud83d"] {
            assert_eq!(resolved(lone), None, "{lone}");
        }
    }

    proptest! {
        // Below the general parser's limits the two must agree on every text, right or wrong.
        #[test]
        fn agrees_with_a_general_parser(text in r#"\{("[a\\"u0d8\n]{0,5}" ?: ?([0-9eE.+-]{1,4}|"[^"]{0,12}"|\[?(true|null|1)\]?|\{\}),?){0,3}\}"#) {
            let general = serde_json::from_str::<serde::de::IgnoredAny>(&text);
            prop_assert_eq!(is_object(&text).is_ok(), general.is_ok(), "{}: {:?}", text, general);
        }

        #[test]
        fn finds_the_first_special_byte(text in "[ -~é\n]{0,40}") {
            let expected = text.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\');
            prop_assert_eq!(plain_prefix(text.as_bytes()), expected.unwrap_or(text.len()));
        }

        #[test]
        fn every_string_survives_escaping(text in any::<String>()) {
            let quoted = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(resolved(&quoted[1..quoted.len() - 1]), Some(text));
        }
    }
}
