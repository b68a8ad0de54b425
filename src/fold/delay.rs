//! Buckets of the delay histogram: exact up to 15 ms, above that sixteen to an octave.
//!
//! A bucket is at most a sixteenth of its lower bound wide, so its middle is never more than [`RELATIVE_ERROR`] off.
//! The buckets are part of the ledger's rows: another layout needs another [`super::FOLD_VERSION`].

/// The largest relative error of a delay taken from the middle of its bucket.
pub const RELATIVE_ERROR: f64 = 1.0 / 32.0;

/// Sub-buckets of an octave, as a power of two.
const SUB_BUCKET_BITS: u32 = 4;
const SUB_BUCKETS: u64 = 1 << SUB_BUCKET_BITS;

/// The bucket of a delay in ms. Delays within the range of `at` give numbers below 624.
pub const fn bucket_of(delay_millis: u64) -> u16 {
    if delay_millis < SUB_BUCKETS {
        return delay_millis as u16;
    }
    let octave = delay_millis.ilog2() - SUB_BUCKET_BITS;
    let sub_bucket = (delay_millis >> octave) - SUB_BUCKETS;
    (SUB_BUCKETS * (octave as u64 + 1) + sub_bucket) as u16
}

/// The delays of a bucket in ms: from the first, inclusive, to the second, exclusive. The last bucket that a `u64` can
/// fall into is 975; its upper bound is cut to `u64::MAX`, and so are both bounds of numbers above it.
pub const fn bounds(bucket: u16) -> (u64, u64) {
    let bucket = bucket as u64;
    if bucket < SUB_BUCKETS {
        return (bucket, bucket + 1);
    }
    let octave = (bucket / SUB_BUCKETS - 1) as u32;
    let step = SUB_BUCKETS + bucket % SUB_BUCKETS;
    (shifted(step, octave), shifted(step + 1, octave))
}

const fn shifted(value: u64, bits: u32) -> u64 {
    if bits > value.leading_zeros() { u64::MAX } else { value << bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_delay_lies_within_the_bounds_of_its_bucket() {
        let around_octaves = (0..42).flat_map(|octave: u32| {
            let edge = 1_u64 << octave;
            [edge.saturating_sub(1), edge, edge + 1, edge + edge / 3, edge + edge / 2]
        });
        for delay in (0..5_000).chain(around_octaves).chain([4_102_444_799_999]) {
            let (lower, upper) = bounds(bucket_of(delay));
            assert!(lower <= delay && delay < upper, "{delay} is not in {lower}..{upper}");
        }
    }

    #[test]
    fn buckets_follow_one_another_without_gap() {
        for bucket in 0..bucket_of(4_102_444_799_999) {
            assert_eq!(bounds(bucket).1, bounds(bucket + 1).0, "after bucket {bucket}");
        }
    }

    #[test]
    fn the_middle_of_a_bucket_is_within_the_stated_error() {
        for bucket in bucket_of(16)..624 {
            let (lower, upper) = bounds(bucket);
            let half_width = (upper - lower) as f64 / 2.0;
            assert!(half_width / lower as f64 <= RELATIVE_ERROR, "bucket {bucket}");
        }
    }

    #[test]
    fn the_longest_delay_stays_below_the_stated_number() {
        assert!(bucket_of(4_102_444_799_999) < 624);
        assert_eq!(bucket_of(u64::MAX), 975);
        assert_eq!(bounds(975).1, u64::MAX);
        assert_eq!(bounds(u16::MAX), (u64::MAX, u64::MAX));
    }
}
