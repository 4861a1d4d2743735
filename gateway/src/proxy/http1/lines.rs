//! An answer's fields in the form in which they are sent on, for whom nobody reads them on the way: no map
//! is built of them and taken apart again.

use bytes::BytesMut;

use super::marks::Marks;

/// Fields, one a line, names in lower case; without those that [`Marks`] notes whole.
#[derive(Debug)]
pub struct Lines {
    pub(super) encoded: BytesMut,
    /// Among them there is a Date.
    pub(super) has_date: bool,
}

impl Lines {
    /// Of a head of `bytes`, and what HTTP/1 itself reads of it. None: there is something odd about it, or
    /// something that must not go further, and the fields have to be read.
    pub fn of(bytes: usize, fields: &[httparse::Header<'_>]) -> Option<(Self, Marks)> {
        let (mut encoded, mut marks) = (BytesMut::with_capacity(bytes), Marks::default());
        let mut has_date = false;
        for field in fields {
            let start = encoded.len();
            encoded.extend_from_slice(field.name.as_bytes());
            let name = encoded.get_mut(start..)?;
            name.make_ascii_lowercase();
            has_date |= name == b"date";
            if marks.note(name, field.value) {
                encoded.truncate(start);
                continue;
            }
            encoded.extend_from_slice(b": ");
            encoded.extend_from_slice(field.value);
            encoded.extend_from_slice(b"\r\n");
        }
        let is_plain = !marks.has_of_one_hop() && !marks.has_odd_framing();
        is_plain.then_some((Self { encoded, has_date }, marks))
    }
}
