//! The decoder and the plain fold's reader beside each other.

use bumpalo::Bump;
use seenby::event::{
    Body, Chat, Control, Event, EventType, Input, Role, decode_control, decode_event, decode_record, encode_control,
    encode_event,
};
use seenby::policy::PolicyVersion;

use super::plain_fold::policy::PlainPolicy;
use super::plain_fold::reading::{PlainControl, PlainEvent, read_control, read_event};

/// The longest reason: it stands in a header of the rejection.
const MOST_REASON_BYTES: usize = 500;

/// Reads a record's value both ways and compares what was read; what the decoder takes must come back from its own
/// spelling as well. Whether it is taken.
pub fn read_both_ways(value: &[u8], header: Option<&str>) -> bool {
    let arena = Bump::new();
    let text = String::from_utf8_lossy(value);
    match (decode_record(value, header.map(str::as_bytes), &arena), header) {
        (Input::Event(event), None) => {
            let plain = read_event(value).unwrap_or_else(|| panic!("only the plain reader refuses {text}"));
            is_the_same_event(&event, &plain);
            comes_back_from_its_spelling(&event);
            true
        }
        (Input::Control(control), Some(header)) => {
            let plain = read_control(header.as_bytes(), value);
            is_the_same_control(&control, &plain.unwrap_or_else(|| panic!("only the plain reader refuses {text}")));
            let mut spelled = Vec::new();
            encode_control(&control, &mut spelled);
            assert_eq!(decode_control(header.as_bytes(), &spelled, &arena).as_ref(), Ok(&control));
            true
        }
        (Input::Malformed { control, reason }, header) => {
            assert_eq!(control, header.is_some());
            let is_taken = match header {
                None => read_event(value).is_some(),
                Some(header) => read_control(header.as_bytes(), value).is_some(),
            };
            assert!(!is_taken, "the plain reader takes {text}, refused for {reason}");
            assert!(reason.to_string().len() <= MOST_REASON_BYTES, "{reason}");
            false
        }
        (input, header) => panic!("{input:?} with the header {header:?}"),
    }
}

fn comes_back_from_its_spelling(event: &Event<'_>) {
    // The name of an unknown type is not kept.
    if event.body.event_type().is_none() {
        return;
    }
    let mut spelled = Vec::new();
    encode_event(event, &mut spelled);
    assert_eq!(decode_event(&spelled, &Bump::new()).as_ref(), Ok(event));
}

fn is_the_same_event(event: &Event<'_>, plain: &PlainEvent) {
    let by_decoder = (event.app.as_str(), event.chat == Chat::Group, event.id.as_str(), event.at.millis());
    assert_eq!(by_decoder, (plain.app.as_str(), plain.is_group, plain.id.as_str(), plain.at));
    assert_eq!((event.from.as_str(), event.to), (plain.from.as_str(), plain.to.as_str()));
    assert_eq!(event.body.event_type().map_or("", EventType::name), plain.counted_type());
    assert_eq!(!matches!(event.body, Body::Unsupported { .. }), plain.is_supported);
    match event.body {
        Body::Message { asks_receipts, role } => {
            assert_eq!((asks_receipts, role.map(Role::name)), (plain.receipt, plain.role.as_deref()));
        }
        Body::Delivered { message } | Body::Recall { message } => assert_eq!(message.as_str(), plain.message),
        Body::Read { message, content } => {
            assert_eq!((message.as_str(), content), (plain.message.as_str(), plain.content.as_deref()));
        }
        Body::Member { user, change } => {
            assert_eq!((user.as_str(), change.name()), (plain.user.as_str(), plain.change.as_str()));
        }
        Body::Roster { members } => {
            let by_decoder = members.iter().map(|(user, role)| (user.as_str(), role.name()));
            assert!(
                by_decoder.eq(plain.members.iter().map(|(user, role)| (user.as_str(), role.as_str()))),
                "{plain:?}"
            );
        }
        Body::ConversationRead | Body::GroupDestroyed | Body::Unsupported { .. } => {}
    }
}

fn is_the_same_control(control: &Control, plain: &PlainControl) {
    match (control, plain) {
        (Control::Policy(by_decoder), PlainControl::Policy { app, version, policy }) => {
            assert_eq!((&by_decoder.app, by_decoder.version), (app, *version));
            has_the_same_limits(by_decoder, policy);
        }
        (Control::Erase(erase), PlainControl::Erase { app, version, user }) => {
            assert_eq!((&erase.app, erase.version, &erase.user), (app, *version, user));
        }
        _ => panic!("{control:?} is not {plain:?}"),
    }
}

fn has_the_same_limits(by_decoder: &PolicyVersion, plain: &PlainPolicy) {
    let policy = &by_decoder.policy;
    let group = &policy.group;
    assert_eq!((by_decoder.version, by_decoder.effective_from.millis()), (plain.version, plain.effective_from));
    assert_eq!(
        (group.open, group.senders.name(), group.unknown_sender.name(), group.timezone),
        (plain.open, plain.senders.as_str(), plain.unknown_sender.as_str(), plain.timezone),
    );
    assert_eq!(
        (i64::from(group.validity_days), group.readers_per_message as usize, u64::from(group.messages_per_day)),
        (plain.group_validity_days, plain.readers_per_message, plain.messages_per_day),
    );
    assert_eq!(
        (i64::from(policy.single.validity_days), i64::from(policy.parking_hours), policy.notify),
        (plain.single_validity_days, plain.parking_hours, plain.notify),
    );
}
