//! Signature-Input (RFC 9421 section 4.1): a dictionary of RFC 8941 with one member, whose value is an
//! inner list of components with parameters. What is not read here is refused, not passed over.

/// Components and parameters, as they were sent.
pub(super) struct Input<'a> {
    pub label: &'a str,
    /// Names, in lower case, in their order; each once, none with parameters.
    pub components: Vec<&'a str>,
    /// The value of `@signature-params`: the member's, letter for letter.
    pub params: &'a str,
    pub created: Option<u64>,
    pub expires: Option<u64>,
    pub keyid: Option<&'a str>,
    pub nonce: Option<&'a str>,
    pub alg: Option<&'a str>,
}

/// Components of one signature.
const COMPONENTS_MAX: usize = 32;

impl<'a> Input<'a> {
    /// None for what is no such field, has more than one signature, or covers what cannot be covered here.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (label, params) = text.trim_matches([' ', '\t']).split_once('=')?;
        let is_key = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte);
        if label.is_empty() || !label.bytes().all(is_key) {
            return None;
        }
        let (inside, rest) = params.strip_prefix('(')?.split_once(')')?;
        let components = components(inside)?;
        let mut input = Self {
            label,
            components,
            params,
            created: None,
            expires: None,
            keyid: None,
            nonce: None,
            alg: None,
        };
        input.parameters(rest).then_some(input)
    }

    /// `;name=value`s up to the end; a second signature would begin behind a comma.
    fn parameters(&mut self, mut rest: &'a str) -> bool {
        while !rest.is_empty() {
            let Some((name, behind)) = rest.strip_prefix(';').and_then(|rest| rest.split_once('=')) else {
                return false;
            };
            let Some((value, behind)) = Value::parse(behind) else { return false };
            let taken = match (name, value) {
                ("created", Value::Number(number)) => self.created.replace(number).is_none(),
                ("expires", Value::Number(number)) => self.expires.replace(number).is_none(),
                ("keyid", Value::Text(text)) => self.keyid.replace(text).is_none(),
                ("nonce", Value::Text(text)) => self.nonce.replace(text).is_none(),
                ("alg", Value::Text(text)) => self.alg.replace(text).is_none(),
                ("tag", Value::Text(_)) => true,
                _ => false,
            };
            if !taken {
                return false;
            }
            rest = behind;
        }
        true
    }
}

enum Value<'a> {
    Text(&'a str),
    Number(u64),
}

impl<'a> Value<'a> {
    /// A string without escapes, or an integer; and what follows.
    fn parse(text: &'a str) -> Option<(Self, &'a str)> {
        if let Some(rest) = text.strip_prefix('"') {
            let (inside, behind) = rest.split_once('"')?;
            return (!inside.contains('\\')).then_some((Self::Text(inside), behind));
        }
        let end = text.find(';').unwrap_or(text.len());
        let (digits, behind) = text.split_at(end);
        let is_number =
            !digits.is_empty() && digits.len() <= 15 && digits.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten().map(|number| (Self::Number(number), behind))
    }
}

fn components(inside: &str) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    for item in inside.split(' ').filter(|item| !item.is_empty()) {
        let name = item.strip_prefix('"')?.strip_suffix('"')?;
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_@".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_name) || names.contains(&name) {
            return None;
        }
        names.push(name);
    }
    (names.len() <= COMPONENTS_MAX).then_some(names)
}
