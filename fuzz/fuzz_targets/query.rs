//! Any text as a query string, as a cursor, or as what stands in one: it is read or refused with a parameter's name, and
//! what was read is read again from its spelling.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seenby::api::fuzzing::{ack_query, cursor, cursor_of, readers_query};

fuzz_target!(|data: &[u8]| {
    cursor(&cursor_of(data));
    // What is no UTF-8 is refused by the HTTP parser.
    let Ok(text) = std::str::from_utf8(data) else { return };
    cursor(text);
    ack_query(text);
    if let Err(detail) = readers_query(text) {
        assert!(detail.contains(": "), "{detail}");
    }
});
