//! Records of any bytes: the decoder agrees with its own spelling and with a second reader of the contract, and both folds
//! with each other on the log that the records make.
//!
//! Records stand behind each other, as in a JSON text sequence (RFC 7464), so that one input is a log; the first byte of
//! each says which header it has.

#![no_main]

#[path = "../../tests/it/support"]
#[allow(dead_code)]
mod support {
    pub mod both_folds;
    pub mod both_readers;
    pub mod events;
    pub mod fold;
    pub mod plain_fold;
    pub mod random_log;
}

use bumpalo::Bump;
use libfuzzer_sys::fuzz_target;
use seenby::event::decode_event;

use self::support::both_folds::{Findings, folded_both_ways};
use self::support::both_readers::read_both_ways;
use self::support::events::OwnedRecord;
use self::support::plain_fold::reading::read_event;
use self::support::random_log::TimedRecord;

const RECORD_SEPARATOR: u8 = 0x1e;

fuzz_target!(|data: &[u8]| {
    let mut records = Vec::new();
    // Brokers' times do not go back; nothing is skewed.
    let mut time = 0;
    for record in data.split(|byte| *byte == RECORD_SEPARATOR) {
        let Some((header, value)) = record.split_first() else { continue };
        let header = match header {
            b'p' => Some("policy"),
            b'e' => Some("erase"),
            b'?' => Some("unknown"),
            _ => None,
        };
        read_both_ways(value, header);
        time = decode_event(value, &Bump::new()).map_or(time, |event| time.max(event.at.millis()));
        let key = read_event(value).filter(|_| header.is_none()).map(|event| event.conversation().into_bytes());
        records.push(TimedRecord {
            record: OwnedRecord { key, value: value.to_vec(), control: header.map(str::to_owned) },
            time,
        });
    }

    let arena = Bump::new();
    let (fold, plain) = folded_both_ways(&records, &arena);
    assert_eq!(Findings::by_the_fold(&fold), Findings::by_the_plain_fold(plain));
});
