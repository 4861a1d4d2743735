//! A strict reader of HTTP/1 messages: what it does not take is no message in normal form. It shares
//! nothing with the gateway's own parsers, which are what is tested.

/// A whole message; field names in lower case, bytes above ASCII as Latin-1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub line: String,
    pub fields: Vec<String>,
    pub body: String,
    pub trailers: Vec<String>,
}

/// What bytes begin with.
pub enum Read {
    /// A message, and how many bytes it has.
    Whole(Message, usize),
    /// The beginning of one.
    Short,
    Nonsense(&'static str),
}

/// Where a message without a length of its own ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unframed {
    /// A request, or an answer that has no body.
    AtTheHead,
    /// An answer's body, when the connection is closed: the bytes are all there are.
    AtTheEnd,
}

struct Stop(Read);

pub fn read(bytes: &[u8], unframed: Unframed) -> Read {
    match whole(bytes, unframed) {
        Ok((message, length)) => Read::Whole(message, length),
        Err(Stop(why)) => why,
    }
}

fn whole(bytes: &[u8], unframed: Unframed) -> Result<(Message, usize), Stop> {
    let (line, mut at) = line(bytes, 0)?;
    let fields = fields(bytes, &mut at)?;
    let length = only(&fields, "content-length: ")?;
    let coding = only(&fields, "transfer-encoding: ")?;
    let mut message = Message { line, fields, body: String::new(), trailers: Vec::new() };
    match (length, coding) {
        (None, None) if unframed == Unframed::AtTheEnd => {
            message.body = latin1(&bytes[at..]);
            at = bytes.len();
        }
        (None, None) => {}
        (Some(length), None) => {
            let digits = length.bytes().all(|byte| byte.is_ascii_digit());
            let length: usize =
                length.parse().ok().filter(|_| digits).ok_or(Stop(Read::Nonsense("the length")))?;
            message.body = latin1(bytes.get(at..at + length).ok_or(Stop(Read::Short))?);
            at += length;
        }
        (None, Some(coding)) if coding == "chunked" => {
            message.body = chunks(bytes, &mut at)?;
            message.trailers = self::fields(bytes, &mut at)?;
        }
        (None, Some(_)) => return Err(Stop(Read::Nonsense("the coding"))),
        (Some(_), Some(_)) => return Err(Stop(Read::Nonsense("both lengths"))),
    }
    Ok((message, at))
}

/// To the CRLF, which is taken.
fn line(bytes: &[u8], at: usize) -> Result<(String, usize), Stop> {
    let rest = bytes.get(at..).unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or(Stop(Read::Short))?;
    let line = rest[..end].strip_suffix(b"\r").ok_or(Stop(Read::Nonsense("a bare LF")))?;
    if line.iter().any(|byte| matches!(byte, 0..=8 | 11..=31 | 127)) {
        return Err(Stop(Read::Nonsense("a control")));
    }
    Ok((latin1(line), at + end + 1))
}

/// To the empty line, which is taken.
fn fields(bytes: &[u8], at: &mut usize) -> Result<Vec<String>, Stop> {
    let mut fields = Vec::new();
    loop {
        let (text, next) = line(bytes, *at)?;
        *at = next;
        if text.is_empty() {
            return Ok(fields);
        }
        let (name, value) = text.split_once(':').ok_or(Stop(Read::Nonsense("no colon")))?;
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Stop(Read::Nonsense("a field's name")));
        }
        fields.push(format!("{}: {}", name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])));
    }
}

/// To the last chunk's line, which is taken.
fn chunks(bytes: &[u8], at: &mut usize) -> Result<String, Stop> {
    let mut body = String::new();
    loop {
        let (size, next) = line(bytes, *at)?;
        let hex = !size.is_empty() && size.len() <= 8 && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hex {
            return Err(Stop(Read::Nonsense("a chunk's size")));
        }
        let size = usize::from_str_radix(&size, 16).unwrap();
        *at = next;
        if size == 0 {
            return Ok(body);
        }
        body.push_str(&latin1(bytes.get(next..next + size).ok_or(Stop(Read::Short))?));
        match bytes.get(next + size..next + size + 2).ok_or(Stop(Read::Short))? {
            b"\r\n" => *at = next + size + 2,
            _ => return Err(Stop(Read::Nonsense("a chunk's end"))),
        }
    }
}

/// The value of a field that may stand once.
fn only(fields: &[String], start: &str) -> Result<Option<String>, Stop> {
    let mut values = fields.iter().filter_map(|field| field.strip_prefix(start));
    let first = values.next().map(str::to_owned);
    if values.next().is_some() { Err(Stop(Read::Nonsense("a field twice"))) } else { Ok(first) }
}

pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
