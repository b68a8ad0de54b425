//! Who a consumer is to its group.
//!
//! A group knows a member by an id that it gives out. An id that changes says that the member was put out of the group in
//! between: whatever it held may have had another owner since. librdkafka does not always say so. Where it is told while it
//! joins that its id is not known any more, it joins anew under another one and keeps what it has (librdkafka 2.12.1,
//! `rd_kafka_cgrp_handle_JoinGroup`; only a member without a static name is then asked for its id first, and loses it all).
//! In the name of the new id it may commit, though what it has folded since may be somebody else's.

// Calls a function of librdkafka that rdkafka does not wrap.
#![allow(unsafe_code)]

use std::ffi::CStr;

use rdkafka::bindings::{rd_kafka_mem_free, rd_kafka_memberid};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};

/// The id that a consumer's group knows it by at this moment; `None` while it is in none.
pub(super) fn member_id<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<String> {
    let client = consumer.client().native_ptr();
    // SAFETY: the consumer, and with it the client, lives over the calls. The text ends in NUL, is the caller's, and is freed
    // once, after it was copied.
    let id = unsafe {
        let text = rd_kafka_memberid(client);
        if text.is_null() {
            return None;
        }
        let id = CStr::from_ptr(text).to_string_lossy().into_owned();
        rd_kafka_mem_free(client, text.cast());
        id
    };
    (!id.is_empty()).then_some(id)
}
