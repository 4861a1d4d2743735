//! base64url without padding (RFC 7515 section 2), strictly: one text for one value, so that nobody
//! makes a second token out of one that was revoked or counted.

/// None: a character that is none, an impossible length, or loose bits at the end.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let quads = text.chunks_exact(4);
    let rest = quads.remainder();
    for quad in quads {
        let bits = bits(quad)?;
        bytes.extend_from_slice(bits.to_be_bytes().get(1..)?);
    }
    match rest.len() {
        0 => {}
        2 | 3 => {
            // 12 or 18 bits: the lowest 4 or 2 mean nothing and are zero.
            let (bits, loose) = (bits(rest)?, 6 * rest.len() % 8);
            if bits & ((1 << loose) - 1) != 0 {
                return None;
            }
            let whole = (bits >> loose).to_be_bytes();
            bytes.extend_from_slice(whole.get(5 - rest.len()..)?);
        }
        _ => return None,
    }
    Some(bytes)
}

fn bits(text: &[u8]) -> Option<u32> {
    let mut bits = 0;
    let mut bad = 0;
    for byte in text {
        let value = *VALUES.get(usize::from(*byte))?;
        bad |= value;
        bits = bits << 6 | u32::from(value);
    }
    (bad & NONE == 0).then_some(bits)
}

/// No value has this bit.
const NONE: u8 = 0x80;

const VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut values = [NONE; 256];
    let mut value = 0;
    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler; both lengths stand above")]
    while value < 64 {
        values[alphabet[value as usize] as usize] = value;
        value += 1;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_stands_for_one_value() {
        for (text, bytes) in [
            ("", Some(&b""[..])),
            ("Zg", Some(b"f")),
            ("Zm8", Some(b"fo")),
            ("Zm9v", Some(b"foo")),
            ("Zm9vYg", Some(b"foob")),
            ("-_-_", Some(&[0xfb, 0xff, 0xbf])),
            // Loose bits.
            ("Zh", None),
            ("Zm9", None),
            ("Zm9vYh", None),
            // Padding, the other alphabet, blanks, ends.
            ("Zg==", None),
            ("Zg=", None),
            ("+/+/", None),
            ("Zm9v\n", None),
            (" Zm9v", None),
            ("Zm 9v", None),
            ("Zm9vY", None),
            ("Z", None),
            ("Zm9\u{ff}", None),
        ] {
            assert_eq!(decode(text.as_bytes()).as_deref(), bytes, "{text:?}");
        }
    }
}
