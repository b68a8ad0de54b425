//! The log read once more: refused records are sent again after a repair, tables are built anew (`seenby replay`), and a
//! past range is folded under another policy.

mod error;
mod rebuild;
mod rejections;
mod what_if;

pub use error::ReplayError;
pub use rebuild::{RebuildArgs, rebuild};
pub use rejections::{RejectionsArgs, Resent, resend};
pub use what_if::{
    Comparison, DifferingMessage, Interest, MissingSpan, OutcomeLine, WhatIfError, WhatIfQuestion, what_if,
};
