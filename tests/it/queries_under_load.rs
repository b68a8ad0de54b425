//! The measurement of benches/queries, at a size that says nothing about speed and everything about whether it still
//! measures.

use std::path::Path;

use clap::Parser as _;

#[path = "../../benches/queries/measurement/mod.rs"]
mod measurement;

#[test]
fn a_small_load_is_answered_and_exported_whole() {
    let arguments = "queries --events 6000 --days 3 --groups 12 --live-rate 500 --live-groups 20 --rate 20 --batch-rate 2 \
                     --batch-items 10 --connections 2 --seconds 2 --warm-up 1 --export-slice 1000";
    let settings = measurement::Settings::parse_from(arguments.split_whitespace());
    let report = measurement::run(&settings, Path::new(env!("CARGO_BIN_EXE_seenby")));

    assert!(report.loaded.messages > 100 && report.loaded.receipts > 1_000, "{:?}", report.loaded);
    assert_eq!(report.phases.len(), 4);
    for (name, measured, usage) in &report.phases {
        assert!(!measured.is_empty(), "{name}");
        for (kind, measured) in measured {
            let others: u64 = measured.others.values().sum();
            assert_eq!(measured.latency.len(), measured.answers + others, "{name}, {kind:?}");
            assert!(measured.answers > 0 && measured.bytes > 0, "{name}, {kind:?}");
            // Messages that are taken back meanwhile are the only ones without a list.
            assert!(measured.others.keys().all(|other| other == "410"), "{name}, {kind:?}: {:?}", measured.others);
        }
        assert!(usage.cores.values().sum::<f64>() > 0.0, "{name}");
    }
    let asked = |phase: usize| report.phases[phase].1.values().map(|of_kind| of_kind.latency.len()).collect::<Vec<_>>();
    assert_eq!((asked(0), asked(1)), (vec![40], vec![40, 4]), "every question of a schedule is asked");
    assert_eq!(report.exports.len(), 2);
    for export in &report.exports {
        assert_eq!(export.rows, export.expected_rows, "{}", export.format);
        assert!(export.rows >= report.loaded.receipts && export.slices > 5, "{export:?}");
    }
}
