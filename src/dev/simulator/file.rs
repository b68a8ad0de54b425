//! The same records in a file: one JSON object a line.

use std::io::{self, Write};

use serde::Serialize;

use super::{RecordKind, SimulatedRecord, Simulator};

/// A record that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The line could not be written.
    #[error("writing record {line} to the file: {source}; free space or choose another file")]
    Write {
        /// Number of the line, from 1.
        line: u64,
        /// What the system says.
        source: io::Error,
    },
}

/// One line. `value_hex` stands instead of `value` where the value is not UTF-8; a line with `control` belongs in every
/// partition, under the header `seenby-control`.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<&'static str>,
}

/// Writes every record of the stream and tells how many there were.
///
/// # Errors
/// The first line that could not be written.
pub fn write_file(mut simulator: Simulator, out: impl Write) -> Result<u64, FileError> {
    let mut out = io::BufWriter::new(out);
    let mut record = SimulatedRecord { kind: RecordKind::Event, key: None, value: Vec::new() };
    let mut lines = 0;
    while simulator.next_into(&mut record) {
        lines += 1;
        write_line(&record, &mut out).map_err(|source| FileError::Write { line: lines, source })?;
    }
    out.flush().map_err(|source| FileError::Write { line: lines, source })?;
    Ok(lines)
}

fn write_line(record: &SimulatedRecord, out: &mut impl Write) -> io::Result<()> {
    let value = std::str::from_utf8(&record.value).ok();
    let line = Line {
        // Keys are text: conversation keys, spoilt by further text.
        key: record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()),
        value,
        value_hex: value.is_none().then(|| hex::encode(&record.value)),
        control: record.control_type(),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, clippy::unwrap_used)]

    use super::*;
    use crate::dev::simulator::{Shares, SimulatorConfig};
    use crate::event::EventTime;

    #[test]
    fn every_record_is_a_line_from_which_it_can_be_made_again() {
        let shares = Shares { malformed: 20_000, ..Shares::NONE };
        let end = EventTime::from_millis(1_772_366_400_000);
        let config = SimulatorConfig { shares, ..SimulatorConfig::ending_at(end, 60_000, 2_000) };
        let mut file = Vec::new();
        let lines = write_file(Simulator::new(config).unwrap(), &mut file).unwrap();

        let records: Vec<SimulatedRecord> = Simulator::new(config).unwrap().collect();
        assert_eq!(records.len() as u64, lines);
        let mut in_hex = 0;
        for (record, line) in records.iter().zip(String::from_utf8(file).unwrap().lines()) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let value = match line["value"].as_str() {
                Some(text) => text.as_bytes().to_vec(),
                None => {
                    in_hex += 1;
                    hex::decode(line["value_hex"].as_str().unwrap()).unwrap()
                }
            };
            assert_eq!(value, record.value);
            assert_eq!(line["key"].as_str().map(str::as_bytes), record.key.as_deref());
            assert_eq!(line["control"].as_str(), record.control_type());
        }
        assert!(in_hex > 0);
    }
}
