//! `seenby replay`: refused records are sent again after a repair, and tables are built anew from the log.

mod error;
mod rebuild;
mod rejections;

pub use error::ReplayError;
pub use rebuild::{RebuildArgs, rebuild};
pub use rejections::{RejectionsArgs, Resent, resend};
