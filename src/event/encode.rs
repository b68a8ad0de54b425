//! From an [`Event`] back to JSON: the canonical spelling, of settled rejections and of simulated traffic.

use super::{Body, Chat, Event};

/// Appends the event as canonical JSON: fields in the order of DESIGN.md section 2, no white space, absent optional
/// fields left out, only those characters escaped that must be. Decoding it gives the same event.
///
/// An event of an unknown type, whose type is not kept, is written with an empty one.
pub fn encode_event(event: &Event<'_>, out: &mut Vec<u8>) {
    let mut object = ObjectWriter::open(out);
    object.string("type", event.body.event_type().map_or("", |event_type| event_type.name()));
    object.string("app", event.app.as_str());
    object.string("chat", event.chat.name());
    object.string("id", event.id.as_str());
    object.string("from", event.from.as_str());
    object.string("to", event.to);
    object.integer("at", event.at.millis());
    match event.body {
        Body::Message { asks_receipts, role } => {
            if asks_receipts {
                object.boolean("receipt", true);
            }
            if let Some(role) = role {
                object.string("role", role.name());
            }
        }
        Body::Delivered { message } | Body::Recall { message } => object.string("message", message.as_str()),
        Body::Read { message, content } => {
            object.string("message", message.as_str());
            if let Some(content) = content.filter(|_| event.chat == Chat::Group) {
                object.string("content", content);
            }
        }
        Body::Member { user, change } => {
            object.string("user", user.as_str());
            object.string("change", change.name());
        }
        Body::Roster { members } => object.array("members", members, |(user, role), member| {
            member.string("user", user.as_str());
            member.string("role", role.name());
        }),
        Body::ConversationRead | Body::GroupDestroyed | Body::Unsupported { .. } => {}
    }
    object.close();
}

/// Writes one JSON object without white space.
pub(crate) struct ObjectWriter<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> ObjectWriter<'o> {
    pub(crate) fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    pub(crate) fn close(self) {
        self.out.push(b'}');
    }

    pub(crate) fn string(&mut self, name: &'static str, value: &str) {
        self.name(name);
        write_string(value, self.out);
    }

    pub(crate) fn integer(&mut self, name: &'static str, value: impl itoa::Integer) {
        self.name(name);
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    pub(crate) fn boolean(&mut self, name: &'static str, value: bool) {
        self.name(name);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    pub(crate) fn object(&mut self, name: &'static str, write: impl FnOnce(&mut ObjectWriter<'_>)) {
        self.name(name);
        let mut object = ObjectWriter::open(self.out);
        write(&mut object);
        object.close();
    }

    fn array<T: Copy>(&mut self, name: &'static str, elements: &[T], write: impl Fn(T, &mut ObjectWriter<'_>)) {
        self.name(name);
        self.out.push(b'[');
        for (index, element) in elements.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            let mut object = ObjectWriter::open(self.out);
            write(*element, &mut object);
            object.close();
        }
        self.out.push(b']');
    }

    /// Names are our own and need no escapes.
    fn name(&mut self, name: &'static str) {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";

    out.push(b'"');
    let mut rest = text;
    while let Some(position) = rest.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        let (plain, special) = rest.split_at(position);
        out.extend_from_slice(plain.as_bytes());
        let mut characters = special.bytes();
        match characters.next().unwrap_or_default() {
            quoted @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', quoted]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                out.extend_from_slice(b"\\u00");
                for digit in [control >> 4, control & 0xf] {
                    out.extend(HEX.get(usize::from(digit)));
                }
            }
        }
        rest = special.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
}
