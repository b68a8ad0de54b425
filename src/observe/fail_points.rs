//! Places where a test may end the process, as a power cut would.
//!
//! They are in the binary of `cargo test` alone: the `fail` crate's feature `failpoints` is turned on by a
//! dev-dependency, and without it [`reach`] is empty. A process arms them from the variable FAILPOINTS, in the crate's
//! own words: `rows.ledger=3*off->return` ends it when it comes to that place for the fourth time.

use fail::FailScenario;

macro_rules! fail_points {
    ($($(#[doc = $doc:literal])+ $point:ident = $name:literal,)+) => {
        /// A place where a test may end the process. Each has a test of its own, in tests/it/worker_fail_points.rs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum FailPoint {
            $($(#[doc = $doc])+ $point,)+
        }

        impl FailPoint {
            /// Every one, in the order in which a worker comes to them.
            pub const ALL: &[Self] = &[$(Self::$point,)+];

            /// Its name in FAILPOINTS.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

fail_points! {
    /// The worker's name is taken, and it joins the group next.
    JoinBegin = "join.begin",
    /// Partitions were given, nothing of them is read back yet.
    HydrationBegin = "hydration.begin",
    /// Their states are read back; those without a commit get their first one next.
    HydrationRead = "hydration.read",
    /// The first commit of a partition is done, its reading has not begun.
    HydrationFirstCommit = "hydration.first_commit",
    /// States are at hand, and the group's note is answered next.
    AssignBegin = "assign.begin",
    /// Partitions are read from here on.
    AssignEnd = "assign.end",
    /// A flush is about to be written.
    RowsBegin = "rows.begin",
    /// Facts are written, the ledger is not.
    RowsLedger = "rows.ledger",
    /// All rows are written, nothing is committed.
    RowsEnd = "rows.end",
    /// A transaction is about to begin.
    TransactionBegin = "transaction.begin",
    /// It is open and empty.
    TransactionProduce = "transaction.produce",
    /// Its notifications and rejections are acknowledged.
    TransactionOffsets = "transaction.offsets",
    /// Its offsets are added; it is committed next.
    TransactionCommit = "transaction.commit",
    /// It is committed, and nothing here knows of it yet.
    TransactionEnd = "transaction.end",
    /// Without transactions: notifications and rejections are about to be sent.
    PlainProduce = "plain.produce",
    /// Without transactions: they are acknowledged, their offsets are not committed.
    PlainCommit = "plain.commit",
    /// Without transactions: the offsets are committed, and nothing here knows of it yet.
    PlainEnd = "plain.end",
    /// Partitions are to be given up; what was folded of them is not on its way yet.
    RevokeBegin = "revoke.begin",
    /// Their last flush is done or given up, and the group is told next.
    RevokeEnd = "revoke.end",
}

/// Comes to a place: ends the process there if a test armed it.
#[allow(unused_variables, reason = "the macro is empty where fail points are not compiled in")]
pub(crate) fn reach(point: FailPoint) {
    fail::fail_point!(point.name(), |_| std::process::abort());
}

/// Arms what the variable FAILPOINTS says, for as long as the answer lives. Does nothing in a released binary.
#[must_use]
pub fn arm_fail_points() -> Option<FailScenario<'static>> {
    fail::has_failpoints().then(FailScenario::setup)
}
